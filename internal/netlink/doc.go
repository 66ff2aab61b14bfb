// Package netlink is the socket layer of dpifd: netlink sockets over
// golang.org/x/sys/unix, the message and attribute formats, and the memory
// that messages are received into and sent from.
//
// # Sockets
//
// A Conn sends requests and reads their answers. A Receiver only receives: its type has no way
// to send, because a socket with a receive ring that sends flow commands can panic ring
// kernels. Both are connected to the kernel (nl_pid 0) before they are returned, so the kernel
// refuses unicast messages of other processes with ECONNREFUSED. Multicast datagrams, and those
// queued between bind and connect, may come from others: the port id of each sender is checked,
// and datagrams that are not from the kernel are counted and dropped.
//
// # Memory
//
// Data is lent instead of copied where possible. Attrs and SplitMessage borrow their input. A
// Receiver fills a Batch, which lends its datagrams until Release. A SendBatch references
// gathered payloads until its Reset. Replies of a Conn are borrowed until the next call on it.
// In the steady state Receiver.Receive, Conn.Send, Encoder and Attrs do not allocate.
//
// # Threading
//
// A Conn serialises its callers with a mutex. A Receiver's methods may be
// called from any goroutine, Counters without waiting. Batch, SendBatch,
// Encoder and Attrs belong to one goroutine at a time.
//
// # Errors
//
// Operations fail with *OpError; an errno of the kernel matches with
// errors.Is, and the text of an extended acknowledgement is kept. ENOBUFS
// means that the kernel dropped messages: it is counted as an overflow and
// returned, never hidden (NETLINK_NO_ENOBUFS is not set).
//
// # Sources
//
// linux/netlink.h and linux/socket.h of Linux 6.1; net/netlink/af_netlink.c
// of Linux 4.1 to 6.18 for behaviour; lib/netlink-socket.c of Open vSwitch 3.x
// for batching.
package netlink
