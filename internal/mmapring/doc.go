// Package mmapring reads and writes netlink messages in memory shared with the
// kernel: the memory-mapped netlink of Linux 3.10 to 4.5 (CONFIG_NETLINK_MMAP).
//
// # Protocol
//
// A socket may have a receive (RX) ring, a transmit (TX) ring, or both. A ring
// is a row of frames of one size, laid out in blocks; each frame starts with a
// 24-byte header whose first word, the status, says who owns the frame:
//
//	UNUSED    RX: the kernel's, free.        TX: the user's, free.
//	RESERVED  the kernel's, in work.
//	VALID     RX: the user's, a message.     TX: the kernel's, to be sent.
//	COPY      RX: the user's; the message is in the socket's queue: one recv.
//	SKIP      never written by this package, nor by the kernel.
//
// Whoever hands a frame over writes the status last, with release order; whoever
// takes it reads the status first, with acquire order, and only then the rest.
// Frames are used strictly in order, and are given back strictly in order.
//
// # Ownership
//
// A [Mapping] owns the memory, never the socket. Its owner closes the mapping
// first and the socket after: a socket that is closed while it is mapped lives
// on and still takes messages. [Reader.Read] lends a frame: the payload aliases
// shared memory until [Reader.Release]. [Writer.Reserve] lends the room of one
// frame until [Writer.Commit] or [Writer.Cancel]. [Mapping.Close] never unmaps
// what is lent: the call that gives the last frame back does it then.
//
// # Threading
//
// A Reader belongs to one goroutine, a Writer to one at a time. Close, and the
// counters, may be used from any goroutine at any time.
//
// # Limits
//
// Nothing in shared memory is trusted: lengths are read once and checked against
// the frame, unknown statuses are counted and passed over. Dumps must not be
// made on a socket that has an RX ring: the kernel misplaces their data inside
// the frame. A socket with an RX ring must not send FLOW_NEW while somebody
// listens to the ovs_flow group: Linux 4.1 and 4.4 panic.
//
// Sources: Linux 4.1 and 4.4 net/netlink/af_netlink.c, include/uapi/linux/netlink.h
// and Documentation/networking/netlink_mmap.txt. The header structures are typed
// out here because later kernels' headers do not have them.
package mmapring
