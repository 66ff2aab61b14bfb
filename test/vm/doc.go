// Command vm runs programs and kernel tests in a throw-away virtual machine.
//
// # Protocol
//
// The guest is Debian's kernel, or any other one, with an initramfs of Debian's
// packages; /init is init.sh. The host talks to it through nothing but what is
// in the initramfs and two serial ports, which every kernel has: the first is
// the console, with the kernel's messages and, between two lines of a mark that
// was drawn for this run, the program's output; the second carries the exit code,
// notes and files (control). QEMU is killed as soon as both have come to their
// end, and started once more if the program did not begin in time.
//
// # systemd
//
// With -systemd (vm run, vm test) the guest's first process becomes Debian's
// systemd, in the same root folder: /init mounts what it always does and makes
// way for it, multi-user.target comes up with journald and whatever is enabled,
// and then lab.service runs the program as /init does otherwise. There is no
// udev, no D-Bus and nobody to log in; dpkg, systemctl, journalctl,
// systemd-sysusers and systemd-tmpfiles are there. A unit to be up at boot is
// added with its link in multi-user.target.wants. Only crc32c_generic and veth
// are loaded before systemd: other modules are for modules-load.d, or for the
// kernel to ask for. A package is installed by `dpkg --install`.
//
//	vm run -systemd -add x.deb:/x.deb -- sh -c 'dpkg --install /x.deb; systemctl status x'
//	vm test -systemd ./...     tests with the build tags lab and systemd
//
// A test finds systemctl by lab.Root(t).Run(t, "systemctl", ...). A VM without
// the flag has none of it and boots as fast as without all this.
//
// # Ownership
//
// The cache holds what is slow to get: packages, the folder they are
// unpacked into, and the layers of the initramfs that do not change. A file or
// folder of the cache is whole if it has its name; a lock keeps builders apart.
// Each run has a temporary folder of its own, which it removes.
//
// # Threading
//
// One goroutine reads each serial port; both end when QEMU does. QEMU dies with
// the thread that started it, which is the main thread.
//
// # Sources
//
// linux/Documentation/driver-api/early-userspace/buffer-format.rst (Linux 6.1)
// for the initramfs; qemu-system(1) 7.2.
package main
