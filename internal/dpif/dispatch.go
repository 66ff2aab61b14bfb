package dpif

// Dispatch says how the kernel picks the socket of an upcall.
type Dispatch string

const (
	// DispatchPerVport is by the vport at which the packet arrived. A vport that floods fills only
	// its own queue, and its packets stay in order.
	DispatchPerVport Dispatch = "per-vport"
	// DispatchPerCPU is by the CPU that handled the packet, with one socket per handler
	// (OVS_DP_F_DISPATCH_UPCALL_PER_CPU, Linux >= 5.15). The number of sockets does not depend on
	// the number of vports; ports share their queues.
	DispatchPerCPU Dispatch = "per-cpu"
)

// Values returns both by name.
func (Dispatch) Values() []string { return []string{string(DispatchPerVport), string(DispatchPerCPU)} }

// String returns the name.
func (d Dispatch) String() string { return string(d) }
