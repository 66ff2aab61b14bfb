// Command vm runs programs and kernel tests in a throw-away virtual machine.
//
// # Protocol
//
// The guest is Debian's kernel, or any other one, with an initramfs of Debian's
// packages; /init is init.sh. The host talks to it through nothing but what is
// in the initramfs and two serial ports, which every kernel has: the first is
// the console, with the kernel's messages and the program's output up to a mark
// that was drawn for this run; the second carries the exit code, notes and files
// (control). QEMU is killed as soon as both have come to their end.
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
