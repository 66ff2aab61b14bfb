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
	Idle    time.Duration `event:"idle_ms" means:"time since the flow was last used"`
}

var _ = event.Declare[evFlowChanged](event.Kind{Name: "flow_changed", Level: event.Debug,
	Meaning: "The revalidator deletes a flow or changes its actions, for `reason`.",
})

type evUpcall struct {
	event.OfDatapath
	Port        string     `event:"port"`
	No          odp.PortNo `event:"port_no"`
	Kind        string     `event:"kind"`
	PacketBytes int        `event:"packet_bytes" means:"size of the packet"`
	Decision    string     `event:"decision" means:"name of the policy's decision"`
	Install     bool       `event:"install" means:"true if a flow was requested"`
	Key         string     `event:"key" means:"flow key in the syntax of ovs-dpctl"`
	Actions     string     `event:"actions"`
	HeldBack    uint64     `event:"held_back"`
}

var _ = event.Declare[evUpcall](event.Kind{Name: "upcall", Level: event.Debug,
	Meaning: "One upcall and the policy's decision. Key and actions are in the syntax of ovs-dpctl (docs/ODP.md), " +
		"ports as numbers. `log.upcall_rate` limits how many are logged; `held_back` counts those left out before " +
		"this one.",
})

type evUpcallsLost struct {
	event.OfDatapath
	Port      string     `event:"port"`
	No        odp.PortNo `event:"port_no"`
	Cause     string     `event:"cause"`
	Lost      uint64     `event:"lost"`
	LostTotal uint64     `event:"lost_total" means:"the same since the port was added"`
	LastErrno string     `event:"last_errno" means:"last error of the kernel, as text; empty if none"`
	Frames    uint32     `event:"ring_frames" means:"frames of the port's ring, one per upcall; 0 without a ring"`
}

var _ = event.Declare[evUpcallsLost](event.Kind{Name: "upcalls_lost", Level: event.Warn,
	Meaning: "Packets were lost on their way through the daemon since the last such event of the same port and " +
		"cause; at most one event a second for each. Causes: socket_overflow (the port's receive queue was full), " +
		"ring_full (all `ring_frames` frames of the port's ring were in use), decode_error, execute_refused (the " +
		"kernel refused to forward the packet, see `last_errno`), policy_error, action_upcall (sent up by a flow of " +
		"another program), shed (above the port's max_upcalls), no_listener (counted by the datapath but by no " +
		"socket: nobody listened, the socket was closed, or the packet was larger than 65,531 bytes).",
	Advice: "Depends on `cause`. socket_overflow: raise `socket.rcvbuf`. ring_full: raise `ring.blocks`. shed: find " +
		"what floods, or raise `ports[].max_upcalls`. execute_refused: see `last_errno`. Others: see " +
		"docs/RUNBOOK.md.",
})

type evRequestOverflow struct {
	event.OfDatapath
	Owner          string `event:"owner" means:"which of the daemon's request sockets, such as a handler's"`
	Overflows      uint64 `event:"overflows"`
	OverflowsTotal uint64 `event:"overflows_total" means:"the same since the start"`
}

var _ = event.Declare[evRequestOverflow](event.Kind{Name: "request_overflow", Level: event.Warn,
	Meaning: "Answers of the kernel to requests were lost because the socket of `owner` had no room for them: " +
		"requests may have failed without being counted. Packets are never sent twice, and the next revalidator " +
		"cycle compares the flows. At most one event a second for each owner.",
	Advice: "Nothing if rare: answers were lost, not packets. If it repeats, the kernel refuses many requests: see " +
		"`upcalls_lost`.",
})

type evMACsEvicted struct {
	event.OfDatapath
	Port         string     `event:"port"`
	No           odp.PortNo `event:"port_no"`
	Evicted      uint64     `event:"evicted" means:"MACs removed to make room"`
	EvictedTotal uint64     `event:"evicted_total" means:"the same since the start"`
	MACs         int        `event:"macs"`
	Limit        int        `event:"limit"`
}

var _ = event.Declare[evMACsEvicted](event.Kind{Name: "macs_evicted", Level: event.Warn,
	Meaning: "The MAC table is full (policy.mac_limit), or the port has reached its own limit (ports[].mac_limit). " +
		"Each new MAC replaces another one: of the same port, or of the port that has the most. `evicted` counts " +
		"the MACs that `port` lost since its last such event; at most one event a second for each port.",
	Advice: "Find out what `port` sends: very many addresses behind one port are an attack or a loop. If they are " +
		"real, raise the limit.",
})

type evStatsFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evStatsFailed](event.Kind{Name: "stats_failed", Level: event.Error,
	Meaning: "The kernel did not answer the request for statistics.",
	Advice:  "Act on `error`. dpifd reads the counters again after a second.",
})
