package dpif

// StaticFlowInstalled says that a static flow is in the datapath.
type StaticFlowInstalled struct{ StaticFlow }

// StaticFlowRemoved says that a static flow was deleted: it is not configured any
// more, or a port that it is about has gone.
type StaticFlowRemoved struct{ StaticFlow }

// StaticFlowWaiting says that a static flow waits for a port, Missing.
type StaticFlowWaiting struct{ StaticFlow }

// StaticFlowRestored says that somebody had deleted or changed a static flow.
// A deleted one is installed again, which is told as well.
type StaticFlowRestored struct {
	StaticFlow
	Cause string // "deleted" or "changed"
}

// StaticFlowFailed says that the kernel refuses a static flow. It is tried again
// in each cycle, and told again when the reason changes.
type StaticFlowFailed struct {
	StaticFlow
	Err error
}

func (StaticFlowInstalled) event() {}
func (StaticFlowRemoved) event()   {}
func (StaticFlowWaiting) event()   {}
func (StaticFlowRestored) event()  {}
func (StaticFlowFailed) event()    {}
