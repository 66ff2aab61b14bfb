// Package ringtest is an emulated kernel side of memory-mapped netlink, for tests only. It emulates
// the kernel's accesses to the shared memory and the results of its system calls, and shares
// nothing with the code under test: layout, addressing and rules are written a second time, from
// the behaviour of Linux 4.1 and 4.4 (net/netlink/af_netlink.c) as measured on those kernels.
//
// A [Kernel] provides the system calls of mmapring.Syscalls, and Recv, Poll and SoError for the
// other calls of a socket's owner. The descriptors of its sockets are eventfds, written whenever
// the kernel would wake the socket, so the real epoll can wait for them; Poll returns what a poll
// would then report. The test controls the kernel's side by the methods of [Socket]: Deliver,
// Reserve and Complete or Abort, Queue, and the handler of sent messages.
//
// A Kernel runs in the process of the test, with Go memory, which the race detector watches, or
// with a memfd that is mapped twice. [Start] runs one in a second process instead, which shares
// only the memfd with the test; system calls are sent over a socket.
package ringtest
