# Boots a system from the folder $1: becomes its init. Runs as process 1 of new namespaces. $2 is a directory of the
# test, which the system has as /test. All changes to the folder are in memory.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
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
mkdir $root/dev/pts $root/dev/shm $root/test $root/old
mount -t devpts -o newinstance,ptmxmode=0666 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
mount -t tmpfs tmpfs $root/dev/shm
mount --bind "$2" $root/test
ip link set lo up
echo host.example.test >$root/etc/hostname
hostname host.example.test
rm -f $root/usr/sbin/policy-rc.d # services start, as on any host
cd $root
pivot_root . old # a chroot would forbid the user namespaces of the unit
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
