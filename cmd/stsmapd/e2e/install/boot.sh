# Starts the system of disk.sh: becomes its init. Runs as process 1 of new namespaces, below those of disk.sh.
set -eu
exec 3<&- 4<&- # those namespaces
root=/mnt/root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs $root/run
mount -t tmpfs -o mode=0755 tmpfs $root/dev
for device in null zero full random urandom tty; do
	: >$root/dev/$device
	mount --bind /dev/$device $root/dev/$device
done
mkdir $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
mount -t tmpfs tmpfs $root/dev/shm
hostname host.example.test
cd $root
pivot_root . old # a chroot would forbid the user namespaces of the unit
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
