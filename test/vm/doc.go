// Command vm runs programs and kernel tests in a throw-away virtual machine.
//
// # Protocol
//
// The guest is Debian's kernel, or any other, with an initramfs of Debian's packages; /init is
// init.sh. The host communicates with it only by the contents of the initramfs and two serial
// ports, which every kernel supports. The first is the console; it carries the kernel's messages
// and, between two lines with a mark that is random for each run, the program's output. The second
// carries the exit code, notes and files (control). QEMU is killed when both have ended, and
// started once more if the program did not start in time.
//
// # systemd
//
// With -systemd (vm run, vm test) process 1 of the guest is Debian's systemd, in the same root
// directory: /init mounts the usual file systems and executes systemd, multi-user.target starts
// with journald and all enabled units, and then lab.service runs the program as /init does
// otherwise. There is no udev, no D-Bus and no login; dpkg, systemctl, journalctl, systemd-sysusers
// and systemd-tmpfiles exist. A unit that starts at boot needs a link in multi-user.target.wants.
// Only crc32c_generic and veth are loaded before systemd; other modules are loaded by
// modules-load.d or requested by the kernel. Packages are installed by `dpkg --install`.
//
//	vm run -systemd -add x.deb:/x.deb -- sh -c 'dpkg --install /x.deb; systemctl status x'
//	vm test -systemd ./...     tests with the build tags lab and systemd
//
// Tests call systemctl by lab.Root(t).Run(t, "systemctl", ...). A VM without the flag has none of
// this and boots as fast as before.
//
// # Ownership
//
// The cache holds what is slow to obtain: packages, the directory into which they are unpacked, and
// the unchanging layers of the initramfs. A file or directory in the cache is complete if it has
// its final name; a lock serialises builders. Each run has its own temporary directory, which it
// removes.
//
// # Threading
//
// One goroutine reads each serial port; both end when QEMU exits. QEMU is killed when the thread
// that started it, the main thread, ends.
//
// # Sources
//
// linux/Documentation/driver-api/early-userspace/buffer-format.rst (Linux 6.1)
// for the initramfs; qemu-system(1) 7.2.
package main
