package vswitch

// Devices sees to the network devices behind configured ports. The Server calls
// it from the thread of Run, one call at a time.
type Devices interface {
	// Prepare is called before a configured port is attached, so that its
	// device is there. With an error the port waits.
	Prepare(p PortConfig) error
	// SetUp is called when a configured port is attached or was found, and
	// again after each Reconfigure; after an error also on the next change
	// of the datapath.
	SetUp(p PortConfig) error
	// Sweep is called at start and after each Reconfigure: devices that were
	// made for a port that is not among ports go.
	Sweep(ports []PortConfig) error
}

// setUpDevice sets up the device of a configured port that is in the datapath,
// unless that is done.
func (s *Server) setUpDevice(p PortConfig) {
	if s.cfg.Devices == nil {
		return
	}
	failed, tried := s.setUp[p.Name]
	if tried && failed == "" {
		return
	}
	err := s.cfg.Devices.SetUp(p)
	if err == nil {
		s.setUp[p.Name] = ""
		return
	}
	if err.Error() != failed {
		s.setUp[p.Name] = err.Error()
		s.cfg.Notify(PortSetupFailed{Name: p.Name, Err: err})
	}
}

// sweepDevices removes the devices of ports that are not configured any more.
func (s *Server) sweepDevices() {
	if s.cfg.Devices == nil || !s.stale {
		return
	}
	s.stale = false
	if err := s.cfg.Devices.Sweep(s.cfg.Ports); err != nil {
		s.cfg.Notify(DeviceSweepFailed{Err: err})
	}
}
