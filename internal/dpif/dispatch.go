package dpif

// Dispatch says how the kernel picks the socket of an upcall.
type Dispatch string

const (
	// DispatchPerVport is by the vport that the packet came in on. A vport that
	// floods fills its own queue only, and its packets stay in order.
	DispatchPerVport Dispatch = "per-vport"
	// DispatchPerCPU is by the CPU that the packet came up on, one socket for
	// each handler (OVS_DP_F_DISPATCH_UPCALL_PER_CPU, Linux >= 5.15). Sockets
	// are as many as handlers, however many vports there are; ports share
	// their queues.
	DispatchPerCPU Dispatch = "per-cpu"
)

// Values returns both by name.
func (Dispatch) Values() []string { return []string{string(DispatchPerVport), string(DispatchPerCPU)} }

// String returns the name.
func (d Dispatch) String() string { return string(d) }
