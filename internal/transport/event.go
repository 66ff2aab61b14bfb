package transport

import (
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
)

// DispatchSelected tells by what the kernel chooses the socket for an upcall,
// and why. The fields after Reason are of per-CPU dispatch.
type DispatchSelected struct {
	event.OfDatapath
	Dispatch   Dispatch `event:"dispatch" means:"per-vport or per-cpu: what the kernel chooses an upcall's socket by"`
	Reason     string   `event:"reason"`
	CPUs       string   `event:"cpus"`
	UpcallPIDs []uint32 `event:"upcall_pids" means:"list of netlink port ids of the handlers' upcall sockets"`
	RcvBuf     int      `event:"rcvbuf_bytes"`
}

var _ = event.Declare[DispatchSelected](event.Kind{Name: "dispatch_selected", Level: event.Info,
	Meaning: "How the kernel picks the socket of an upcall, per-vport or per-cpu, and why. With per-cpu " +
		"`upcall_pids` are the handlers' sockets, which share the online `cpus`, and what a full queue loses is " +
		"logged with port `handler N`.",
})

// CPUsChanged says that CPUs went off or came on.
type CPUsChanged struct {
	event.OfDatapath
	Online   string `event:"cpus"`
	Was      string `event:"was"`
	Handlers int    `event:"handlers"`
}

var _ = event.Declare[CPUsChanged](event.Kind{Name: "cpus_changed", Level: event.Info,
	Meaning: "CPUs went off or came on. Under per-CPU dispatch the handlers share those that are online now.",
})

// FeaturesSet tells which user features the datapath has at start.
type FeaturesSet struct {
	event.OfDatapath
	Asked  dpif.Features `event:"asked" means:"features asked for"`
	Kept   dpif.Features `event:"kept"`
	Before dpif.Features `event:"before" means:"features found at start"`
	Rings  bool          `event:"rings" means:"true if upcall sockets may have rings"`
}

var _ = event.Declare[FeaturesSet](event.Kind{Name: "features_set", Level: event.Info,
	Meaning: "User features of the datapath: what was asked for, what the kernel kept, what was set before. With " +
		"`rings`, unaligned is not asked for: an upcall that exceeds its frame would be written over the next " +
		"one.",
})

// SocketsAdopted tells how many upcall sockets of the process before are served
// on, and how many were closed because no vport's upcalls went to them.
type SocketsAdopted struct {
	event.OfDatapath
	Adopted int `event:"adopted" means:"sockets of the process before that are used"`
	Closed  int `event:"closed" means:"sockets of the process before that nobody needs"`
	// Of the sockets' rings, see mmapring.Found.
	Rings    int `event:"rings_adopted" means:"sockets of the process before that have rings"`
	Frames   int `event:"frames" means:"ring frames in use"`
	Answered int `event:"frames_answered" means:"ring frames that the process before was answering when it was killed"`
	Guessed  int `event:"heads_guessed" means:"rings that were full, and whose oldest frame is not known"`
}

var _ = event.Declare[SocketsAdopted](event.Kind{Name: "sockets_adopted", Level: event.Info,
	Meaning: "Upcall sockets of the process before are served on, with what was queued on them. `closed` counts " +
		"those that upcalls no longer go to; what was queued on them was answered. `rings_adopted` of them have rings, " +
		"in which `frames` were in use. After a kill, `frames_answered` of these are given back unread, since their " +
		"packets may have been sent; the others are answered. `heads_guessed` above 0: upcalls of so many ports " +
		"are answered in another order than they came.",
})

// SocketRefused says that an inherited descriptor is not an upcall socket. It was closed.
type SocketRefused struct {
	event.OfDatapath
	Name string `event:"name" means:"name"`
	Err  error  `event:"error"`
}

var _ = event.Declare[SocketRefused](event.Kind{Name: "socket_refused", Level: event.Warn,
	Meaning: "A descriptor that was passed to the daemon is not an upcall socket of this network namespace. It was " +
		"closed.",
	Advice: "Nothing unless it repeats: the socket is made anew. Upcalls queued on it are lost and count as the " +
		"kernel's `lost`.",
})

// SocketNotKept says that a port's upcall socket will not outlive the process.
type SocketNotKept struct {
	event.OfDatapath
	Name string     `event:"port"`
	No   odp.PortNo `event:"port_no"`
	Err  error      `event:"error"`
}

var _ = event.Declare[SocketNotKept](event.Kind{Name: "socket_not_kept", Level: event.Warn,
	Meaning: "The service manager's store did not take a port's upcall socket: a restart loses upcalls of that port.",
	Advice: "Raise FileDescriptorStoreMax of the service above the number of ports. Until then a restart loses what " +
		"is queued on that port.",
})

// RingDenied says that a port is served without ring though rings are
// wanted and the kernel has them.
type RingDenied struct {
	event.OfDatapath
	Name       string `event:"port"`
	Err        error  `event:"error"`
	RingBytes  uint64 `event:"ring_bytes"`
	UsedBytes  uint64 `event:"used_bytes" means:"memory of all rings"`
	LimitBytes uint64 `event:"limit_bytes"`
}

var _ = event.Declare[RingDenied](event.Kind{Name: "ring_denied", Level: event.Warn,
	Meaning: "A port is served without ring though the kernel has rings: `ring.memory_limit` is reached, or the kernel " +
		"refused this ring. Ports get rings in the order of the file, then as they come. This one gets a ring when it " +
		"is attached anew and the limit has room.",
	Advice: "Nothing: a port without ring works as on any kernel. For more rings raise `ring.memory_limit` or lower " +
		"`ring.blocks`. To choose the ports that have one, put them first in the file.",
})
