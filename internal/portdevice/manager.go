package portdevice

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/device"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
	"dpifd/internal/reconciler"

	"golang.org/x/sys/unix"
)

// Manager prepares and sets up the devices of configured ports. It is a
// reconciler.Devices. Its methods belong to one goroutine, but Configure.
type Manager struct {
	conn     *device.Conn
	datapath string
	netns    string
	notify   event.Sink
	// datapathCreated tells that this process made the datapath, and its local port.
	datapathCreated bool
	// given holds the addresses that each device got from here.
	given map[string][]netip.Prefix
	// addresses are those of all devices by ifindex, as of listed.
	addresses map[int][]netip.Addr
	listed    time.Time

	mu sync.Mutex // guards the next two
	// tunnels and internal are what is configured, by the vport's name.
	tunnels  map[string]device.Tunnel
	internal map[string]config.Port
}

var _ reconciler.Devices = (*Manager)(nil)

// New opens a socket in the network namespace of the calling thread, and takes ports and
// datapath of the configuration. The caller closes the Manager.
func New(cfg *config.Config, notify event.Sink) (*Manager, error) {
	conn, err := device.Dial()
	if err != nil {
		return nil, err
	}
	s := &Manager{conn: conn, datapath: cfg.Datapath.Name, netns: cfg.Netns, notify: notify, given: map[string][]netip.Prefix{}}
	s.Configure(cfg.Ports)
	return s, nil
}

// Close closes the socket.
func (s *Manager) Close() error { return s.conn.Close() }

// SetDatapathCreated says whether this process made the datapath: then its local port is
// new.
func (s *Manager) SetDatapathCreated(created bool) { s.datapathCreated = created }

// Configure changes which ports are configured. Any goroutine may call it.
func (s *Manager) Configure(ports []config.Port) {
	tunnels, internal := map[string]device.Tunnel{}, map[string]config.Port{}
	for _, p := range ports {
		switch {
		case p.Type.IsTunnel():
			t := p.Device()
			tunnels[t.Name()] = t
		case p.Type == config.PortInternal && p.Match == "":
			internal[p.Name] = p
		}
	}
	s.mu.Lock()
	s.tunnels, s.internal = tunnels, internal
	s.mu.Unlock()
}

// alias is the mark of devices made for this datapath.
func (s *Manager) alias() string { return "dpifd: " + s.datapath }

// Prepare implements reconciler.Devices.
func (s *Manager) Prepare(p reconciler.PortConfig) (name string, err error) {
	s.mu.Lock()
	t, ok := s.tunnels[p.Name]
	s.mu.Unlock()
	if !ok {
		return s.usable(p)
	}
	created, err := s.conn.Create(t, s.alias())
	if created {
		s.notify(DeviceCreated{Device: p.Name, Kind: string(t.Kind)})
	}
	return p.Name, err
}

// Find implements reconciler.Devices.
func (s *Manager) Find(name string) uint32 {
	l, err := s.conn.Link(name)
	if err != nil {
		return 0
	}
	return uint32(l.Index)
}

// Indexes implements reconciler.Devices.
func (s *Manager) Indexes() (map[string]uint32, error) {
	links, err := s.conn.Links()
	if err != nil {
		return nil, err
	}
	indexes := make(map[string]uint32, len(links))
	for _, l := range links {
		indexes[l.Name] = uint32(l.Index)
	}
	return indexes, nil
}

// SetUp implements reconciler.Devices. Addresses that others gave to a device stay.
func (s *Manager) SetUp(p reconciler.PortConfig, v *dpif.Vport, created bool) error {
	s.mu.Lock()
	port, ok := s.internal[p.Name]
	_, tunnel := s.tunnels[p.Name]
	s.mu.Unlock()
	if !ok {
		if !tunnel && v.Type == dpif.VportNetdev {
			s.warnAddresses(p.Name, v)
		}
		return nil
	}
	if v.Elsewhere {
		if port.Up || port.MTU != 0 || len(port.Address) > 0 {
			s.notify(PortElsewhere{Name: p.Name, No: v.No, Device: v.Name, Netns: v.Netns})
		}
		return nil
	}
	l, err := s.conn.LinkAt(int(v.Ifindex))
	if v.Ifindex == 0 {
		l, err = s.conn.Link(v.Name)
	}
	if err != nil {
		return err
	}
	var errs []error
	created = created || v.No == 0 && s.datapathCreated
	if mac := s.mac(&port, created); mac != (odp.MAC{}) && l.Address != mac.String() {
		errs = append(errs, s.conn.SetAddress(l, mac))
	}
	if created {
		errs = append(errs, s.conn.Announce(l))
	}
	if port.MTU != 0 && l.MTU != port.MTU {
		errs = append(errs, s.conn.SetMTU(l, port.MTU))
	}
	errs = append(errs, s.address(l, port.Address))
	if port.Up && !l.Up() {
		errs = append(errs, s.conn.SetUp(l))
	}
	return errors.Join(errs...)
}

// address gives a device its addresses and takes away those that it had from
// here before. That comes first: the kernel takes with an address the later ones
// of the same network.
func (s *Manager) address(l device.Link, want []config.Prefix) error {
	var errs []error
	var given []netip.Prefix
	for _, a := range s.given[l.Name] {
		if slices.Contains(want, config.Prefix{Prefix: a}) {
			continue
		}
		if err := s.conn.DeleteAddress(l, a); err != nil {
			given = append(given, a)
			errs = append(errs, err)
		}
	}
	for _, a := range want {
		err := s.conn.AddAddress(l, a.Prefix)
		if err == nil {
			given = append(given, a.Prefix)
		}
		errs = append(errs, err)
	}
	s.given[l.Name] = given
	return errors.Join(errs...)
}

// Sweep implements reconciler.Devices.
func (s *Manager) Sweep(ports []reconciler.PortConfig) error {
	links, err := s.conn.Links()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		needed := func(p reconciler.PortConfig) bool { return p.Name == l.Name }
		if l.Alias != s.alias() || slices.ContainsFunc(ports, needed) {
			continue
		}
		err := s.conn.Delete(l)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.notify(DeviceRemoved{Device: l.Name, Kind: l.Kind})
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove devices: %w", err)
	}
	return nil
}
