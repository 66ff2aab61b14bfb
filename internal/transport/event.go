package transport

import (
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
)

// DispatchSelected reports how the kernel picks the socket of an upcall, and why. The fields
// after Reason are for per-CPU dispatch.
type DispatchSelected struct {
	event.OfDatapath
	Dispatch   dpif.Dispatch `event:"dispatch" means:"per-vport or per-cpu: how the kernel picks the socket of an upcall"`
	Reason     string        `event:"reason"`
	CPUs       string        `event:"cpus"`
	UpcallPIDs []uint32      `event:"upcall_pids" means:"list of netlink port ids of the handlers' upcall sockets"`
	RcvBuf     int           `event:"rcvbuf_bytes"`
}

var _ = event.Declare[DispatchSelected](event.Kind{Name: "dispatch_selected", Level: event.Info,
	Meaning: "How the kernel picks the socket of an upcall, per-vport or per-cpu, and why. With per-cpu " +
		"`upcall_pids` are the sockets of the handlers, which share the online `cpus`; losses of a full queue are " +
		"logged with port `handler N`.",
})

// CPUsChanged reports that CPUs went offline or online.
type CPUsChanged struct {
	event.OfDatapath
	Online   string `event:"cpus"`
	Was      string `event:"was"`
	Handlers int    `event:"handlers"`
}

var _ = event.Declare[CPUsChanged](event.Kind{Name: "cpus_changed", Level: event.Info,
	Meaning: "CPUs went offline or online. With per-CPU dispatch the handlers share the CPUs that are online now.",
})

// FeaturesSet reports the user features of the datapath at start.
type FeaturesSet struct {
	event.OfDatapath
	Asked  dpif.Features `event:"asked" means:"features requested"`
	Kept   dpif.Features `event:"kept"`
	Before dpif.Features `event:"before" means:"features found at start"`
	Rings  bool          `event:"rings" means:"true if upcall sockets may have rings"`
}

var _ = event.Declare[FeaturesSet](event.Kind{Name: "features_set", Level: event.Info,
	Meaning: "User features of the datapath at start: requested, granted by the kernel, and found before. With " +
		"`rings`, unaligned is not requested: an upcall larger than its frame would overwrite the next frame.",
})

// SocketsAdopted reports how many upcall sockets of the previous process are used, and how many
// were closed because no vport used them.
type SocketsAdopted struct {
	event.OfDatapath
	Adopted int `event:"adopted" means:"sockets of the previous process that are used"`
	Closed  int `event:"closed" means:"sockets of the previous process that are not needed"`
	// Of the sockets' rings, see mmapring.Found.
	Rings    int `event:"rings_adopted" means:"sockets of the previous process that have rings"`
	Frames   int `event:"frames" means:"ring frames in use"`
	Answered int `event:"frames_answered" means:"ring frames that the previous process was answering when it was killed"`
	Guessed  int `event:"heads_guessed" means:"full rings whose oldest frame is unknown"`
}

var _ = event.Declare[SocketsAdopted](event.Kind{Name: "sockets_adopted", Level: event.Info,
	Meaning: "dpifd took over upcall sockets of the previous daemon with the upcalls in their queues. `closed` " +
		"counts sockets to which no vport sends upcalls; their queues were answered first. `rings_adopted` sockets " +
		"have rings, in which `frames` frames were in use. After a kill, `frames_answered` of these are returned " +
		"unread, because their packets may have been sent already; the others are answered. `heads_guessed` counts " +
		"ports whose upcalls are answered out of order.",
})

// SocketRefused reports that an inherited descriptor is not an upcall socket. It was closed.
type SocketRefused struct {
	event.OfDatapath
	Name string `event:"name" means:"name"`
	Err  error  `event:"error"`
}

var _ = event.Declare[SocketRefused](event.Kind{Name: "socket_refused", Level: event.Warn,
	Meaning: "A file descriptor that was passed to the daemon is not an upcall socket of this network namespace. It " +
		"was closed.",
	Advice: "Nothing unless it repeats: dpifd opens a new socket. Upcalls queued on the old one are lost and count " +
		"as the kernel's `lost`.",
})

// SocketNotKept reports that a port's upcall socket will not outlive the process.
type SocketNotKept struct {
	event.OfDatapath
	Name string     `event:"port"`
	No   odp.PortNo `event:"port_no"`
	Err  error      `event:"error"`
}

var _ = event.Declare[SocketNotKept](event.Kind{Name: "socket_not_kept", Level: event.Warn,
	Meaning: "The service manager's file descriptor store did not accept the upcall socket of a port: a restart " +
		"loses the queued upcalls of that port.",
	Advice: "Raise FileDescriptorStoreMax of the service above the number of ports.",
})

// RingDenied reports that a port has no ring although rings are wanted and the kernel has them.
type RingDenied struct {
	event.OfDatapath
	Name       string `event:"port"`
	Err        error  `event:"error"`
	RingBytes  uint64 `event:"ring_bytes"`
	UsedBytes  uint64 `event:"used_bytes" means:"memory of all rings"`
	LimitBytes uint64 `event:"limit_bytes"`
}

var _ = event.Declare[RingDenied](event.Kind{Name: "ring_denied", Level: event.Warn,
	Meaning: "A port has no ring although the kernel has rings: `ring.memory_limit` is reached, or the kernel " +
		"refused the ring. Ports get rings in the order of the file, then in the order in which they are attached. " +
		"The port gets a ring when it is attached again and the limit has room.",
	Advice: "Nothing: the port works without a ring. For more rings raise `ring.memory_limit` or lower " +
		"`ring.blocks`. To choose the ports that have rings, list them first in the file.",
})
