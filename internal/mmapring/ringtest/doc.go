// Package ringtest is an emulated kernel side of memory-mapped netlink, for
// tests only. It fakes what the kernel does to the shared memory and what its
// system calls answer, and nothing of the code under test: layout, addressing
// and rules are typed out here a second time, from the behaviour of Linux 4.1
// and 4.4 (net/netlink/af_netlink.c) as measured on those kernels.
//
// A [Kernel] has the system calls of mmapring.Syscalls, and Recv, Poll and
// SoError for what the owner of a socket does besides. Its sockets' descriptors
// are eventfds, written whenever the kernel would wake the socket, so they can be
// slept on with the real epoll; what a poll would then return is Poll's answer.
// The test drives the kernel's side by the methods of [Socket]: Deliver, Reserve
// and Complete or Abort, Queue, and the handler of sent messages.
//
// A Kernel lives in the process of the test, over memory that the race detector
// sees, or over a memfd that is mapped twice. [Start] runs one in a second
// process instead: its only common ground with the test is the memfd, and system
// calls go over a socket.
package ringtest
