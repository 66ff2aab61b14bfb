package vswitch

import (
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Event is something an operator may want to know. The types below are all
// there are.
type Event interface{ event() }

// PortAdded says that a vport is served.
type PortAdded struct {
	No        odp.PortNo
	Name      string
	Type      dpif.VportType
	Handler   int // -1 under per-CPU dispatch, as the next four are zero: see DispatchSelected
	UpcallPID uint32
	Transport netlink.Transport
	Reason    string // for the transport
	RcvBuf    int    // bytes granted to the upcall socket
	RingBytes uint64 // of its ring, 0 without
	Created   bool   // the vport was made, not found
}

// DispatchSelected tells by what the kernel chooses the socket for an upcall,
// and why. The rest is of per-CPU dispatch.
type DispatchSelected struct {
	Dispatch   Dispatch
	Reason     string
	CPUs       string   // online, as the kernel lists them
	UpcallPIDs []uint32 // of the handlers' sockets
	RcvBuf     int      // bytes granted to each of these
}

// CPUsChanged says that CPUs went off or came on, and that the handlers share
// those that are online now.
type CPUsChanged struct {
	Online, Was string
	Handlers    int
}

// HandlerStarted tells how a handler sends its requests, and why.
type HandlerStarted struct {
	Handler   int
	Transport netlink.Transport
	Reason    string
}

// TXRingGivenUp says that the kernel does not send from a handler's TX ring;
// requests go by ordinary calls from now on. None was lost.
type TXRingGivenUp struct {
	Handler int
	Err     error
}

// PortRemoved says that a vport has gone. Counters are its last.
type PortRemoved struct {
	No       odp.PortNo
	Name     string
	Counters PortCounters
}

// PortRenamed says that a port's device has another name now. The port goes on
// as it was.
type PortRenamed struct {
	No        odp.PortNo
	Name, Was string
}

// PortWaiting says that a configured port cannot be attached now. It is tried
// again when its device appears or the datapath changes.
type PortWaiting struct {
	Name string
	Err  error
}

// PortSetupFailed says that a configured port is served, but that its device
// could not be set up as configured. It is tried again on the next change.
type PortSetupFailed struct {
	Name string
	Err  error
}

// DeviceSweepFailed says that devices of ports that are not configured any more
// could not be removed.
type DeviceSweepFailed struct{ Err error }

// PortFailed says that a vport of the datapath could not be served. It is
// tried again on the next change.
type PortFailed struct {
	No   odp.PortNo
	Name string
	Err  error
}

// RingDenied says that a port is served without ring though rings are
// wanted and the kernel has them: the memory limit is reached, or the kernel
// refused this ring.
type RingDenied struct {
	Name       string
	Err        error
	RingBytes  uint64 // that the ring would have taken
	UsedBytes  uint64 // by all rings
	LimitBytes uint64
}

// UpcallPIDRestored says that somebody had changed a vport's upcall PIDs.
type UpcallPIDRestored struct {
	No    odp.PortNo
	Name  string
	Found []uint32
	PID   uint32
}

// FeaturesSet tells which user features the datapath has at start.
type FeaturesSet struct {
	Asked, Kept, Before dpif.Features
	Rings               bool // upcall sockets may have rings, so UNALIGNED is off
}

// FeaturesRestored says that somebody had changed the datapath's user
// features, so that upcalls may have been lost.
type FeaturesRestored struct{ Found, Kept dpif.Features }

// NotifierOverflow says that notifications were lost; everything is listed
// anew.
type NotifierOverflow struct{ Source string }

// SocketsAdopted tells how many upcall sockets of the process before are served
// on, and how many were closed because no vport's upcalls went to them.
type SocketsAdopted struct{ Adopted, Closed int }

// SocketRefused says that an inherited descriptor is not an upcall socket. It
// was closed.
type SocketRefused struct {
	Name string // under which it was kept
	Err  error
}

// SocketNotKept says that a port's upcall socket will not outlive the process.
type SocketNotKept struct {
	No   odp.PortNo
	Name string
	Err  error
}

// FlowsAdopted tells how many flows were found in the datapath at start.
type FlowsAdopted struct{ Flows int }

// FlowLimitChanged says that the limit was adapted to the time that a dump of
// the flows takes. Growth is reported in steps of several seconds.
type FlowLimitChanged struct {
	From, To int
	Cause    string
}

// FlowLimitReached says that flows are no longer installed; packets are still
// forwarded, each by way of an upcall.
type FlowLimitReached struct{ Flows, Limit int }

// FlowLimitCleared says that flows are installed again.
type FlowLimitCleared struct{ Flows, Limit int }

// RevalidatorFailed says that a cycle ended early. The next one tries again.
type RevalidatorFailed struct {
	Err error
	At  time.Duration // into the cycle
}

func (PortAdded) event()         {}
func (DispatchSelected) event()  {}
func (CPUsChanged) event()       {}
func (PortRemoved) event()       {}
func (PortRenamed) event()       {}
func (HandlerStarted) event()    {}
func (TXRingGivenUp) event()     {}
func (PortWaiting) event()       {}
func (PortFailed) event()        {}
func (PortSetupFailed) event()   {}
func (DeviceSweepFailed) event() {}
func (RingDenied) event()        {}
func (UpcallPIDRestored) event() {}
func (FeaturesSet) event()       {}
func (FeaturesRestored) event()  {}
func (NotifierOverflow) event()  {}
func (FlowsAdopted) event()      {}
func (SocketsAdopted) event()    {}
func (SocketRefused) event()     {}
func (SocketNotKept) event()     {}
func (FlowLimitChanged) event()  {}
func (FlowLimitReached) event()  {}
func (FlowLimitCleared) event()  {}
func (RevalidatorFailed) event() {}
