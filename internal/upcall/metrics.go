package upcall

import "dpifd/internal/metric"

// PortMetrics are what the daemon counts of a port, or of the sum of all ports.
var PortMetrics = metric.Table[PortCounters]{
	metric.Counter("upcalls", metric.None, "upcalls received",
		func(c *PortCounters) uint64 { return c.Upcalls }).WithDelta(),
	metric.Counter("upcall", metric.Bytes, "bytes of packets in upcalls",
		func(c *PortCounters) uint64 { return c.Bytes }).WithDelta(),
	metric.Counter("executed", metric.None, "packets returned to the kernel to be sent",
		func(c *PortCounters) uint64 { return c.Executed }).WithDelta(),
	metric.Counter("dropped", metric.None, "packets that the policy dropped",
		func(c *PortCounters) uint64 { return c.Dropped }).WithDelta(),
	metric.Counter("flows_put", metric.None, "flows requested",
		func(c *PortCounters) uint64 { return c.FlowsPut }).WithDelta(),
	metric.Counter("flows_primed", metric.None, "requested flows for answers that were yet to come",
		func(c *PortCounters) uint64 { return c.FlowsPrimed }),
	metric.Counter("flows_existing", metric.None, "requested flows that existed already",
		func(c *PortCounters) uint64 { return c.FlowsExisting }),
	metric.Counter("flows_refused", metric.None, "requested flows that the kernel refused",
		func(c *PortCounters) uint64 { return c.FlowsRefused }),
	metric.Counter("flows_over_limit", metric.None, "flows not requested because the flow limit was reached",
		func(c *PortCounters) uint64 { return c.FlowsOverLimit }),
	metric.Counter("action_upcalls", metric.None, "upcalls from a userspace action of a flow: lost",
		func(c *PortCounters) uint64 { return c.ActionUpcalls }),
	metric.Counter("execute_refused", metric.None, "packets that the kernel refused to send: lost",
		func(c *PortCounters) uint64 { return c.ExecuteRefused }),
	metric.Counter("decode_errors", metric.None, "messages that are not upcalls: lost",
		func(c *PortCounters) uint64 { return c.DecodeErrors }),
	metric.Counter("receive_errors", metric.None, "failed receive calls, without overflows",
		func(c *PortCounters) uint64 { return c.ReceiveErrors }),
	metric.Counter("policy_errors", metric.None, "packets whose answer did not fit in a message: lost",
		func(c *PortCounters) uint64 { return c.PolicyErrors }),
	metric.Counter("socket_drops", metric.None, "upcalls dropped because the socket queue or ring was full: lost",
		func(c *PortCounters) uint64 { return c.SocketDrops }),
	metric.Counter("shed", metric.None, "upcalls above the port's max_upcalls: lost",
		func(c *PortCounters) uint64 { return c.Shed }),
}
