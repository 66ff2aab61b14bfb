package upcall

import "dpifd/internal/metric"

// PortMetrics are what the daemon counts of a port, or of the sum of all ports.
var PortMetrics = metric.Table[PortCounters]{
	metric.Counter("upcalls", metric.None, "upcalls received",
		func(c *PortCounters) uint64 { return c.Upcalls }).WithDelta(),
	metric.Counter("upcall", metric.Bytes, "bytes of the packets of upcalls",
		func(c *PortCounters) uint64 { return c.Bytes }).WithDelta(),
	metric.Counter("executed", metric.None, "packets handed back to the kernel to be sent",
		func(c *PortCounters) uint64 { return c.Executed }).WithDelta(),
	metric.Counter("dropped", metric.None, "packets that the policy dropped",
		func(c *PortCounters) uint64 { return c.Dropped }).WithDelta(),
	metric.Counter("flows_put", metric.None, "flows asked for",
		func(c *PortCounters) uint64 { return c.FlowsPut }).WithDelta(),
	metric.Counter("flows_existing", metric.None, "flows asked for that were there already",
		func(c *PortCounters) uint64 { return c.FlowsExisting }),
	metric.Counter("flows_refused", metric.None, "flows asked for that the kernel refused",
		func(c *PortCounters) uint64 { return c.FlowsRefused }),
	metric.Counter("flows_over_limit", metric.None, "flows not asked for, the table being full",
		func(c *PortCounters) uint64 { return c.FlowsOverLimit }),
	metric.Counter("action_upcalls", metric.None, "upcalls sent by a flow's userspace action: lost",
		func(c *PortCounters) uint64 { return c.ActionUpcalls }),
	metric.Counter("execute_refused", metric.None, "packets that the kernel refused to send: lost",
		func(c *PortCounters) uint64 { return c.ExecuteRefused }),
	metric.Counter("decode_errors", metric.None, "messages that were no upcalls: lost",
		func(c *PortCounters) uint64 { return c.DecodeErrors }),
	metric.Counter("receive_errors", metric.None, "receive calls that failed, overflows left out",
		func(c *PortCounters) uint64 { return c.ReceiveErrors }),
	metric.Counter("policy_errors", metric.None, "packets whose answer did not fit into a message: lost",
		func(c *PortCounters) uint64 { return c.PolicyErrors }),
	metric.Counter("socket_drops", metric.None, "upcalls that sockets had no room for: lost",
		func(c *PortCounters) uint64 { return c.SocketDrops }),
	metric.Counter("shed", metric.None, "upcalls over the port's max_upcalls: lost",
		func(c *PortCounters) uint64 { return c.Shed }),
}
