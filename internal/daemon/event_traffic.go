package daemon

import (
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
)

type evFlowChanged struct {
	event.OfDatapath
	Op      string        `event:"op" means:"delete or modify"`
	Reason  string        `event:"reason"`
	UFID    dpif.UFID     `event:"ufid"`
	Packets uint64        `event:"packets" means:"packets of the flow"`
	Idle    time.Duration `event:"idle_ms" means:"since the flow was last used"`
}

var _ = event.Declare[evFlowChanged](event.Kind{Name: "flow_changed", Level: event.Debug,
	Meaning: "The revalidator deletes a flow or gives it other actions, and why.",
})

type evUpcall struct {
	event.OfDatapath
	Port        string     `event:"port"`
	No          odp.PortNo `event:"port_no"`
	Kind        string     `event:"kind"`
	PacketBytes int        `event:"packet_bytes" means:"size of the packet"`
	Decision    string     `event:"decision" means:"the policy's word for what it did"`
	Install     bool       `event:"install" means:"true if a flow was asked for"`
	Key         string     `event:"key" means:"flow key in the syntax of ovs-dpctl"`
	Actions     string     `event:"actions"`
}

var _ = event.Declare[evUpcall](event.Kind{Name: "upcall", Level: event.Debug,
	Meaning: "One upcall and what the policy decided. Key and actions are in the syntax of ovs-dpctl (docs/ODP.md), " +
		"ports as numbers.",
})

type evUpcallsLost struct {
	event.OfDatapath
	Port      string     `event:"port"`
	No        odp.PortNo `event:"port_no"`
	Cause     string     `event:"cause"`
	Lost      uint64     `event:"lost"`
	LostTotal uint64     `event:"lost_total" means:"the same since the port was added"`
	LastErrno string     `event:"last_errno" means:"the kernel's last refusal, as text; empty if none"`
	Frames    uint32     `event:"ring_frames" means:"upcalls that the port's ring holds, whatever their size; 0 without ring"`
}

var _ = event.Declare[evUpcallsLost](event.Kind{Name: "upcalls_lost", Level: event.Warn,
	Meaning: "Packets were lost on their way through the daemon since the last such line of the same port and cause; " +
		"at most one a second for each. Causes: socket_overflow (the port's receive queue was full), ring_full " +
		"(all `ring_frames` frames of the port's ring were in use), " +
		"decode_error, kernel_refused (the kernel refused to forward the packet, see `last_errno`), " +
		"policy_error, action_upcall (sent up by a flow of another program), shed (over the port's " +
		"max_upcalls), no_listener (counted by the datapath, but not by a port: nobody listened, the socket had " +
		"gone, or the packet was too large to be sent up, over 65,531 bytes).",
	Advice: "By `cause`: socket_overflow, raise `socket.rcvbuf`; ring_full, raise `ring.blocks` (the ring has `ring_frames` frames); shed, raise " +
		"`ports[].max_upcalls` if the port may; kernel_refused, see `last_errno`; others, see docs/RUNBOOK.md.",
})

type evRequestOverflow struct {
	event.OfDatapath
	Owner          string `event:"owner" means:"which of the daemon's request sockets, such as a handler's"`
	Overflows      uint64 `event:"overflows"`
	OverflowsTotal uint64 `event:"overflows_total" means:"the same since the start"`
}

var _ = event.Declare[evRequestOverflow](event.Kind{Name: "request_overflow", Level: event.Warn,
	Meaning: "Answers of the kernel to requests were lost, since the socket of `owner` had no room for them: " +
		"requests may have been refused without being counted. Packets are never sent twice; flows are compared " +
		"with the kernel's by the next revalidator cycle. At most one a second for each owner.",
	Advice: "Nothing if rare: answers were lost, not packets. If it repeats, the kernel refuses many requests: see " +
		"`upcalls_lost`.",
})

type evMACsEvicted struct {
	event.OfDatapath
	Port         string     `event:"port"`
	No           odp.PortNo `event:"port_no"`
	Evicted      uint64     `event:"evicted" means:"MACs forgotten to make room"`
	EvictedTotal uint64     `event:"evicted_total" means:"the same since the start"`
	MACs         int        `event:"macs"`
	Limit        int        `event:"limit"`
}

var _ = event.Declare[evMACsEvicted](event.Kind{Name: "macs_evicted", Level: event.Warn,
	Meaning: "The MAC table is full (policy.mac_limit): for each MAC that is learned one is forgotten, of the port " +
		"that holds the most. `port` is the one that lost MACs, `evicted` how many since the last such line of " +
		"the port; at most one a second for each.",
	Advice: "Find out what `port` sends: as many addresses behind one port are an attack or a loop. If they are " +
		"real, raise `policy.mac_limit`.",
})

type evStatsFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evStatsFailed](event.Kind{Name: "stats_failed", Level: event.Error,
	Meaning: "The kernel did not answer the request for statistics.",
	Advice:  "Act on `error`. Counters are read again a second later.",
})
