package vswitch

import "dpifd/internal/policy"

// StaticFlowInstalled says that a static flow is in the datapath.
type StaticFlowInstalled struct{ policy.StaticFlow }

// StaticFlowRemoved says that a static flow was deleted: it is not configured any
// more, or a port that it is about has gone.
type StaticFlowRemoved struct{ policy.StaticFlow }

// StaticFlowWaiting says that a static flow waits for a port, Missing.
type StaticFlowWaiting struct{ policy.StaticFlow }

// StaticFlowRestored says that somebody had deleted or changed a static flow.
// A deleted one is installed again, which is told as well.
type StaticFlowRestored struct {
	policy.StaticFlow
	Cause string // "deleted" or "changed"
}

// StaticFlowFailed says that the kernel refuses a static flow. It is tried again
// in each cycle, and told again when the reason changes.
type StaticFlowFailed struct {
	policy.StaticFlow
	Err error
}

func (StaticFlowInstalled) event() {}
func (StaticFlowRemoved) event()   {}
func (StaticFlowWaiting) event()   {}
func (StaticFlowRestored) event()  {}
func (StaticFlowFailed) event()    {}
