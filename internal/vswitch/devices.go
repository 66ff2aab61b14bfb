package vswitch

import "dpifd/internal/dpif"

// Devices sees to the network devices behind configured ports. The Server calls
// it from the thread of Run, one call at a time.
type Devices interface {
	// Prepare is called before a configured port is attached, so that its
	// device is there. With an error the port waits.
	Prepare(p PortConfig) error
	// Find returns the ifindex of the device that has a name, be it an altname, in the
	// datapath's network namespace, 0 if there is none.
	Find(name string) uint32
	// Indexes returns the ifindexes of the devices of that namespace by name.
	Indexes() (map[string]uint32, error)
	// Candidates returns the names of the devices of that namespace that a pattern may
	// attach: those of Ethernet that belong to no other device.
	Candidates() ([]string, error)
	// SetUp is called when a configured port is attached or was found, and
	// again after each Reconfigure; after an error also at each later look of the port
	// poll. The device is the vport's, whatever its name is; created tells that the
	// vport was made just now.
	SetUp(p PortConfig, v *dpif.Vport, created bool) error
	// Sweep is called at start and after each Reconfigure: devices that were
	// made for a port that is not among ports go.
	Sweep(ports []PortConfig) error
}

// deviceSetup is a device that is to be set up.
type deviceSetup struct {
	port    PortConfig
	vport   dpif.Vport
	created bool
}

// setUpDevices sets up the devices of the configured ports that the look found or attached.
func (s *Server) setUpDevices() {
	for i := range s.unprepared {
		u := &s.unprepared[i]
		s.setUpDevice(u.port, &u.vport, u.created)
	}
	s.unprepared = s.unprepared[:0]
}

// setUpDevice sets up the device of a configured port that is in the datapath,
// unless that is done.
func (s *Server) setUpDevice(p PortConfig, v *dpif.Vport, created bool) {
	if s.cfg.Devices == nil {
		return
	}
	failed, tried := s.setUp[p.Name]
	if tried && failed == "" {
		return
	}
	err := s.cfg.Devices.SetUp(p, v, created)
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
