package vswitch

import (
	"dpifd/internal/dpif"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
)

// channel is one vport that is served, and its upcall socket.
type channel struct {
	*upcall.Port
	typ     dpif.VportType
	sinceMS int64             // policy.Port.SinceMS
	ifindex uint32            // of the vport's device, 0 on kernels that do not tell
	sock    *transport.Socket // nil under per-CPU dispatch
}
