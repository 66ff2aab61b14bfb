package snoop

import "dpifd/internal/metric"

// Metrics are the counters of a table.
var Metrics = metric.Table[Counters]{
	metric.Gauge("group_members", metric.None, "memberships of multicast groups by port",
		func(c *Counters) int { return c.Groups }),
	metric.Gauge("router_ports", metric.None, "ports with a multicast querier, by VLAN and IP version",
		func(c *Counters) int { return c.Routers }),
	metric.Counter("group_queries", metric.None, "IGMP and MLD queries",
		func(c *Counters) uint64 { return c.Queries }),
	metric.Counter("group_reports", metric.None, "IGMP and MLD reports and leaves",
		func(c *Counters) uint64 { return c.Reports }),
	metric.Counter("group_messages_malformed", metric.None, "IGMP and MLD messages with an error, ignored by snooping",
		func(c *Counters) uint64 { return c.Malformed }),
	metric.Counter("groups_refused", metric.None, "joins ignored because the port has too many groups",
		func(c *Counters) uint64 { return c.Refused }),
}
