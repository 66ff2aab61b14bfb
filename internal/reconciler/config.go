package reconciler

import (
	"dpifd/internal/binding"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
)

// PortConfig is a port that the datapath must have.
type PortConfig struct {
	Name string
	// Match, if not empty, is a pattern of path.Match for names: the entry stands for the
	// devices and vports of the type that match and that no other entry names. Only entries in
	// Config have Match without Name; a port that a pattern added has both.
	Match string
	Type  dpif.VportType // VportNetdev or VportInternal
	// MaxUpcalls is the number of upcalls served per second; 0 means no limit. Upcalls above it
	// are dropped before they are decoded, and counted as shed. After a second without upcalls,
	// a burst of the same number is served.
	MaxUpcalls uint32
}

// vport is p without the fields that can change without a change of the vport.
func (p PortConfig) vport() PortConfig {
	p.MaxUpcalls, p.Match = 0, ""
	return p
}

// Kernel is the datapath whose vports are reconciled: a dpif.Datapath, or in tests a
// model of one.
type Kernel interface {
	Name() string
	Info() (dpif.DatapathInfo, error)
	Vports() ([]dpif.Vport, error)
	AddVports(list []dpif.NewVport, done func(i int, v dpif.Vport, err error)) error
	DeleteVport(no odp.PortNo) error
	SetUpcallPID(no odp.PortNo, pid uint32) error
	SetUpcallPIDs(ports []odp.PortNo, pids []uint32, done func(i int, err error)) error
}

// FlowSweeps is the part of the revalidator that the quarantine of port numbers uses.
type FlowSweeps interface {
	// RequestFullDump makes the next cycle start at once and dump all flows.
	RequestFullDump()
	// Looks returns the number of successful cycles.
	Looks() uint64
}

// Config holds the parts that a Reconciler uses.
type Config struct {
	Kernel  Kernel
	Sockets *transport.Sockets // with its handlers
	// Ports are attached if they are not yet. Other vports of the datapath are served, too. An
	// entry with a pattern stands for any number of ports.
	Ports    []PortConfig
	Devices  Devices       // devices of Ports; nil if they are not managed
	Sweeps   FlowSweeps    // of the datapath's flows
	Restores *Restores     // limits the rate of restores; may be shared
	Handlers *upcall.Table // updated for handlers that receive upcalls of all ports
	Progress func()        // is called for each part of a look, which may be long
	Notify   event.Sink
}

// Reconciler keeps the ports of one datapath.
type Reconciler struct {
	kernel     Kernel
	sockets    *transport.Sockets
	notify     event.Sink
	progress   func()
	handlers   *upcall.Table
	patterns   []PortConfig          // entries for any number of ports
	configured []PortConfig          // the other entries, and ports that patterns match
	maxUpcalls map[string]uint32     // the configured limits, by name
	bound      *binding.Table        // which vport belongs to which configured port
	table      Table                 // of the ports that are served
	listed     []dpif.Vport          // of the datapath, by Remove
	byIfindex  map[uint32]*Port      // of these, if the kernel reports it
	waiting    map[string]waiting    // configured ports that are not attached, by name
	failed     map[odp.PortNo]string // vports that cannot be served, with the reported reason
	devices    devices
	quarantine quarantine
	restores   *Restores
}

// New returns a Reconciler that serves no port yet.
func New(cfg Config) *Reconciler {
	r := &Reconciler{
		kernel: cfg.Kernel, sockets: cfg.Sockets, notify: cfg.Notify, progress: cfg.Progress, handlers: cfg.Handlers,
		bound:     binding.NewTable(),
		byIfindex: map[uint32]*Port{}, waiting: map[string]waiting{}, failed: map[odp.PortNo]string{},
		devices: newDevices(cfg.Devices), quarantine: newQuarantine(cfg.Sweeps), restores: cfg.Restores,
	}
	r.take(cfg.Ports)
	return r
}

// Configure changes the configured ports. Ports that are no longer configured are removed from
// the datapath; the next look does the rest.
func (r *Reconciler) Configure(ports []PortConfig) error {
	was := r.configured
	r.take(ports)
	vports, err := r.vports()
	if err != nil {
		return err
	}
	r.matchPatterns(vports)
	stay := make(map[PortConfig]bool, len(r.configured))
	for _, p := range r.configured {
		stay[p.vport()] = true
	}
	var removed []string
	for _, p := range was {
		if !stay[p.vport()] {
			removed = append(removed, p.Name)
			r.forgetPort(p.Name)
		}
	}
	r.devices.reset()
	if len(removed) == 0 {
		return nil
	}
	return r.retire(removed, vports)
}

// take applies entries of the configuration.
func (r *Reconciler) take(entries []PortConfig) {
	r.patterns, r.configured = nil, nil
	for _, p := range entries {
		if p.Match != "" {
			r.patterns = append(r.patterns, p)
		} else {
			r.configured = append(r.configured, p)
		}
	}
	r.maxUpcalls = maxUpcalls(r.configured)
}

// forgetPort drops the state of a port that is no longer configured.
func (r *Reconciler) forgetPort(name string) {
	delete(r.waiting, name)
	r.devices.forget(name)
}

// maxUpcalls returns the limits by name of the ports that have one.
func maxUpcalls(ports []PortConfig) map[string]uint32 {
	limits := map[string]uint32{}
	for _, p := range ports {
		if p.MaxUpcalls != 0 {
			limits[p.Name] = p.MaxUpcalls
		}
	}
	return limits
}

// Waiting returns the number of configured ports that are not attached.
func (r *Reconciler) Waiting() int { return len(r.waiting) }

// Table returns the ports that are served.
func (r *Reconciler) Table() *Table { return &r.table }
