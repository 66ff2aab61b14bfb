// Package mmapring reads and writes netlink messages in memory shared with the
// kernel: the memory-mapped netlink of Linux 3.10 to 4.5 (CONFIG_NETLINK_MMAP).
//
// # Protocol
//
// A socket may have a receive (RX) ring, a transmit (TX) ring, or both. A ring is an array of
// frames of equal size, laid out in blocks. Each frame starts with a 24-byte header whose first
// word, the status, says who owns the frame:
//
//	UNUSED    RX: the kernel's, free.        TX: the user's, free.
//	RESERVED  the kernel's, in work.
//	VALID     RX: the user's, a message.     TX: the kernel's, to be sent.
//	COPY      RX: the user's; the message is in the socket's queue: one recv.
//	SKIP      never written by this package, nor by the kernel.
//
// The side that hands a frame over writes the status last, with release order. The side that
// takes it reads the status first, with acquire order, and then the rest. Frames are used and
// returned strictly in order.
//
// # Ownership
//
// A [Mapping] owns the memory, never the socket. Its owner closes the mapping first, then the
// socket: a socket that is closed while it is mapped stays alive and still receives messages.
// [Reader.Read] lends a frame: the payload aliases shared memory until [Reader.Release].
// [Writer.Reserve] lends the room of one frame until [Writer.Commit].
// [Mapping.Close] never unmaps lent frames: the call that returns the last one unmaps the
// memory.
//
// # Threading
//
// A Reader belongs to one goroutine, a Writer to one at a time. Close, and the
// counters, may be used from any goroutine at any time.
//
// # Limits
//
// Nothing in shared memory is trusted: lengths are read once and checked against the frame,
// unknown statuses are counted and skipped. Do not dump on a socket with an RX ring: the kernel
// misplaces the data inside the frame. A socket with an RX ring must not send FLOW_NEW while a
// program listens to the ovs_flow group: Linux 4.1 and 4.4 panic.
//
// Sources: Linux 4.1 and 4.4 net/netlink/af_netlink.c, include/uapi/linux/netlink.h and
// Documentation/networking/netlink_mmap.txt. The header structures are defined here because the
// headers of later kernels lack them.
package mmapring
