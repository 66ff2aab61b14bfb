package netlink

import "dpifd/internal/metric"

// ReceiveMetrics are the counters of receiving.
var ReceiveMetrics = metric.Table[Counters]{
	metric.Counter("received_linear", metric.None, "upcalls received by recvmmsg",
		func(c *Counters) uint64 { return c.ReceivedLinear }),
	metric.Counter("received_ring", metric.None, "upcalls received in ring frames",
		func(c *Counters) uint64 { return c.ReceivedRing }),
	metric.Counter("received_copy", metric.None, "upcalls larger than their frame, copied by a system call",
		func(c *Counters) uint64 { return c.ReceivedCopy }),
	metric.Counter("received", metric.Bytes, "bytes received",
		func(c *Counters) uint64 { return c.Bytes }),
	metric.Counter("jumbo", metric.None, "messages larger than the initial receive buffer",
		func(c *Counters) uint64 { return c.Jumbo }),
	metric.Counter("aborted", metric.None, "ring frames that the kernel abandoned",
		func(c *Counters) uint64 { return c.Aborted }),
	metric.Counter("truncated", metric.None, "messages truncated by the kernel: lost",
		func(c *Counters) uint64 { return c.Truncated }),
	metric.Counter("malformed", metric.None, "malformed messages and frames: lost",
		func(c *Counters) uint64 { return c.Malformed + c.Oversized + c.UnknownStatus }),
	metric.Counter("overflows", metric.None, "number of overflows that sockets reported",
		func(c *Counters) uint64 { return c.Overflows }),
	metric.Counter("overruns", metric.None, "number of times that a ring was full",
		func(c *Counters) uint64 { return c.Overruns }),
}

// SendMetrics are the counters of request sockets.
var SendMetrics = metric.Table[Counters]{
	metric.Counter("sent_linear", metric.None, "requests sent by sendmsg",
		func(c *Counters) uint64 { return c.SentLinear }),
	metric.Counter("sent_ring", metric.None, "requests sent in ring frames",
		func(c *Counters) uint64 { return c.SentRing }),
	metric.Counter("request_overflows", metric.None, "overflows of request sockets",
		func(c *Counters) uint64 { return c.Overflows }),
}
