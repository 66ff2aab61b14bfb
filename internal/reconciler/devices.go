package reconciler

import (
	"slices"

	"dpifd/internal/dpif"
)

// Devices manages the network devices of configured ports. The Reconciler calls it from its
// goroutine, one call at a time.
type Devices interface {
	// Prepare is called before a configured port is attached, to make sure that its device
	// exists. It returns the device's own name: p may have an altname, which newer kernels
	// (Linux 6.12) do not accept for a vport. After an error the port waits.
	Prepare(p PortConfig) (name string, err error)
	// Find returns the ifindex of the device with a name or altname in the datapath's network
	// namespace, 0 if there is none.
	Find(name string) uint32
	// Indexes returns the ifindexes of the devices of that namespace by name.
	Indexes() (map[string]uint32, error)
	// Candidates returns the names of the devices of that namespace that a pattern may attach:
	// Ethernet devices that belong to no other device.
	Candidates() ([]string, error)
	// SetUp is called when a configured port is attached or found, again after each Configure,
	// and when its device has moved to another network namespace; after an error also at each
	// later look. The device is that of the vport, independent of its name; created says that
	// the vport was just created.
	SetUp(p PortConfig, v *dpif.Vport, created bool) error
	// Sweep is called at start and after each Configure. It removes devices that were created
	// for a port that is not among ports.
	Sweep(ports []PortConfig) error
}

// devices holds the state of the devices of configured ports.
type devices struct {
	Devices                        // nil if they are not managed
	result  map[string]setUpResult // by port
	pending []deviceSetup
	stale   bool // there may be devices of ports that are no longer configured
}

// setUpResult is the result of SetUp.
type setUpResult struct {
	failed    string // "" for nothing
	elsewhere bool   // where the device was, as in dpif.Vport
	netns     int32
}

// deviceSetup is a device that must be set up.
type deviceSetup struct {
	port    PortConfig
	vport   dpif.Vport
	created bool
}

func newDevices(d Devices) devices {
	return devices{Devices: d, result: map[string]setUpResult{}, stale: true}
}

// reset makes all devices be set up again, because their configuration may have changed.
func (d *devices) reset() {
	clear(d.result)
	d.stale = true
}

// forget makes the device of a port that is not attached be set up again.
func (d *devices) forget(name string) { delete(d.result, name) }

// prepare creates the device of a port and returns its own name.
func (d *devices) prepare(p PortConfig) (name string, err error) {
	if d.Devices == nil {
		return p.Name, nil
	}
	return d.Prepare(p)
}

// find returns the ifindex of a device, 0 if there is none.
func (d *devices) find(name string) uint32 {
	if d.Devices == nil {
		return 0
	}
	return d.Find(name)
}

// fillIfindex looks up the ifindexes of vports if the kernel does not report them (before Linux
// 4.15).
func (d *devices) fillIfindex(vports []dpif.Vport) {
	if d.Devices == nil || !slices.ContainsFunc(vports, func(v dpif.Vport) bool { return v.Ifindex == 0 }) {
		return
	}
	indexes, err := d.Indexes()
	if err != nil {
		return // compare names instead
	}
	for i := range vports {
		if v := &vports[i]; v.Ifindex == 0 {
			v.Ifindex = indexes[v.Name]
		}
	}
}

// SetUpDevices sets up the devices of the configured ports that Add found or attached.
func (r *Reconciler) SetUpDevices() {
	d := &r.devices
	for i := range d.pending {
		r.setUpDevice(&d.pending[i])
	}
	d.pending = d.pending[:0]
}

// setUpDevice sets up a device, unless it is set up already.
func (r *Reconciler) setUpDevice(s *deviceSetup) {
	d := &r.devices
	if d.Devices == nil {
		return
	}
	now := setUpResult{elsewhere: s.vport.Elsewhere, netns: s.vport.Netns}
	before, tried := d.result[s.port.Name]
	if tried && before == now {
		return
	}
	err := d.SetUp(s.port, &s.vport, s.created)
	if err != nil {
		now.failed = err.Error()
	}
	d.result[s.port.Name] = now
	if err != nil && now.failed != before.failed {
		r.notify(PortSetupFailed{Name: s.port.Name, Err: err})
	}
}

// sweepDevices removes the devices of ports that are no longer configured.
func (r *Reconciler) sweepDevices() {
	d := &r.devices
	if d.Devices == nil || !d.stale {
		return
	}
	d.stale = false
	if err := d.Sweep(r.configured); err != nil {
		r.notify(DeviceSweepFailed{Err: err})
	}
}
