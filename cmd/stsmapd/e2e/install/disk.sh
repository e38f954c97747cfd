# Makes the disk and the network of a system, in namespaces that stay when it is started again: the folder $1, with all
# changes in memory, and $2, a directory of the test, as /test. Ends with its standard input.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
root=/mnt/root
mkdir $root/test $root/old
mount --bind "$2" $root/test
ip link set lo up
echo host.example.test >$root/etc/hostname
rm -f $root/usr/sbin/policy-rc.d # services start, as on any host
echo made
cat
