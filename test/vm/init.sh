#!/bin/sh
# Process 1 of the lab VM. The console carries the program's output and the kernel's messages; the
# second serial port carries control lines and files for the host (console.go). It uses nothing that
# Linux 3.14 lacks.
#
# In a VM with systemd it executes systemd, whose lab.service runs this script again with the
# argument "job" (systemd.go).
PATH=/usr/bin:/usr/lib/busybox
HOME=/root
TERM=dumb
LAB_VM=1
export PATH HOME TERM LAB_VM

# The job sets LAB_MARK, LAB_GET, LAB_MODULES and LAB_SYSTEMD; its function run runs the program
# with its environment.
# shellcheck source=/dev/null
. /lab/job

try_mount() { mount -t "$1" "$1" "$2" 2>/dev/null || echo "note cannot mount $1 on $2" >&3; }

# set_up mounts what programs expect, and loads the modules.
set_up() {
	/usr/bin/busybox --install -s /usr/lib/busybox
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	if ! mount -t devtmpfs devtmpfs /dev 2>/dev/null; then
		mount -t tmpfs tmpfs /dev
		mdev -s
		[ -c /dev/null ] || mknod -m 666 /dev/null c 1 3
		[ -c /dev/console ] || mknod -m 600 /dev/console c 5 1
		[ -c /dev/ttyS1 ] || mknod -m 600 /dev/ttyS1 c 4 65
	fi
	[ -c /dev/net/tun ] || { mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200; }
	ln -sf /proc/self/fd /dev/fd
	stty -F /dev/ttyS1 raw -echo
	exec 3>/dev/ttyS1

	mkdir -p /dev/pts /dev/shm
	try_mount devpts /dev/pts
	try_mount tmpfs /dev/shm
	try_mount tmpfs /run
	try_mount tmpfs /tmp
	try_mount cgroup2 /sys/fs/cgroup
	try_mount debugfs /sys/kernel/debug
	mkdir -p /run/netns /run/openvswitch
	hostname lab
	ip link set lo up

	if [ -d "/lib/modules/$(uname -r)" ]; then
		# Given a list, modprobe skips modules that it does not find.
		# shellcheck disable=SC2086
		modprobe -a -q $LAB_MODULES 2>/dev/null
		for module in $LAB_MODULES; do
			[ -d "/sys/module/$module" ] || grep -q "/$module\.ko" "/lib/modules/$(uname -r)/modules.builtin" ||
				echo "note this kernel lacks the module $module" >&3
		done
	fi
}

if [ "${1-}" = job ]; then
	exec 3>/dev/ttyS1
else
	set_up
	if [ -n "$LAB_SYSTEMD" ]; then
		exec /lib/systemd/systemd 3>&-
	fi
fi

# The kernel's boot messages end here, and the mark begins the output.
echo 4 >/proc/sys/kernel/printk
printf '\n%s\n' "$LAB_MARK"
echo "ready $(uname -r)" >&3
cd /root || exit
run </dev/null 3>&-
code=$?

# The second mark ends the output, so that the host knows that it is complete.
printf '\n%s\n' "$LAB_MARK"
echo "exit $code" >&3
index=0
for dir in $LAB_GET; do
	if tar -C "$dir" -cf /tmp/.lab.tar . ; then
		echo "files $index $(stat -c %s /tmp/.lab.tar)" >&3
		cat /tmp/.lab.tar >&3
	else
		echo "note cannot read $dir" >&3
	fi
	index=$((index + 1))
done
echo "done" >&3
busybox poweroff -f
