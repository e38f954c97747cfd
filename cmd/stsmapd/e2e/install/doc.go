// Package install tests the packages that users install. The packages of `make release` go into fresh systems of Debian
// 12, 13 and sid, which packaging/tools/chroot.sh has laid out: each is started with its own systemd, in namespaces and
// with a file system in memory over the folder, so that apt-get, systemctl and the unit's sandbox do there what they do
// on a host. There is no network in it but its own loopback interface.
package install
