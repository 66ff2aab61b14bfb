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
	"dpifd/internal/netns"
	"dpifd/internal/odp"
	"dpifd/internal/reconciler"

	"golang.org/x/sys/unix"
)

// Manager prepares and sets up the devices of configured ports. It is a reconciler.Devices. Its
// methods belong to one goroutine, except Configure.
type Manager struct {
	conn     *device.Conn
	datapath string
	netns    string
	notify   event.Sink
	// datapathCreated says that this process created the datapath, and with it the local port.
	datapathCreated bool
	// given holds the addresses that the Manager gave to the device of each internal port.
	given map[string][]netip.Prefix
	// elsewhere holds the namespaces of internal ports that were reported to be in a namespace
	// that cannot be entered.
	elsewhere map[string]int32
	// addresses are those of all devices by ifindex, as of listed.
	addresses map[int][]netip.Addr
	listed    time.Time

	mu sync.Mutex // guards the next two
	// tunnels and internal hold the configured devices by the vport's name.
	tunnels  map[string]device.Tunnel
	internal map[string]config.Port
}

var _ reconciler.Devices = (*Manager)(nil)

// New opens a socket in the network namespace of the calling thread, and reads ports and
// datapath from the configuration. The caller closes the Manager.
func New(cfg *config.Config, notify event.Sink) (*Manager, error) {
	conn, err := device.Dial()
	if err != nil {
		return nil, err
	}
	s := &Manager{conn: conn, datapath: cfg.Datapath.Name, netns: cfg.Netns, notify: notify,
		given: map[string][]netip.Prefix{}, elsewhere: map[string]int32{}}
	s.Configure(cfg.Ports)
	return s, nil
}

// Close closes the socket.
func (s *Manager) Close() error { return s.conn.Close() }

// SetDatapathCreated tells the Manager whether this process created the datapath: then its
// local port is new.
func (s *Manager) SetDatapathCreated(created bool) { s.datapathCreated = created }

// Configure changes the configured ports. Any goroutine may call it.
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

// alias marks the devices created for this datapath.
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
	created = created || v.No == localPort && s.datapathCreated
	if v.Elsewhere {
		return s.setUpElsewhere(&port, v, created)
	}
	delete(s.elsewhere, p.Name)
	return s.setUpDevice(s.conn, &port, v, created)
}

// localPort is the number of the local port, OVSP_LOCAL of linux/openvswitch.h.
const localPort odp.PortNo = 0

// setUpElsewhere sets up the device of an internal port in the network namespace where it is,
// if /run/netns has it and the process may enter it. Otherwise it reports once that the device
// is not set up.
func (s *Manager) setUpElsewhere(port *config.Port, v *dpif.Vport, created bool) error {
	if !port.Up && port.MTU == 0 && len(port.Address) == 0 && port.MAC == (odp.MAC{}) {
		return nil
	}
	if path := s.conn.Namespace(v.Netns); path != "" {
		err := netns.Do(path, func() error {
			conn, err := device.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			return s.setUpDevice(conn, port, v, created)
		})
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	if reported, is := s.elsewhere[port.Name]; !is || reported != v.Netns {
		s.elsewhere[port.Name] = v.Netns
		s.notify(PortElsewhere{Name: port.Name, No: v.No, Device: v.Name, Netns: v.Netns})
	}
	return nil
}

// setUpDevice sets up an internal port's device in the namespace of conn.
func (s *Manager) setUpDevice(conn *device.Conn, port *config.Port, v *dpif.Vport, created bool) error {
	l, err := conn.LinkAt(int(v.Ifindex))
	if v.Ifindex == 0 {
		l, err = conn.Link(v.Name)
	}
	if err != nil {
		return err
	}
	errs := []error{s.identify(conn, l, port, created)}
	if port.MTU != 0 && l.MTU != port.MTU {
		errs = append(errs, conn.SetMTU(l, port.MTU))
	}
	errs = append(errs, s.address(conn, l, port))
	if port.Up && !l.Up() {
		errs = append(errs, conn.SetUp(l))
	}
	return errors.Join(errs...)
}

// identify gives an internal port's device its MAC. A port that was just created may replace
// one that neighbours know: its addresses are announced when it goes up.
func (s *Manager) identify(conn *device.Conn, l device.Link, port *config.Port, created bool) error {
	var errs []error
	if mac := s.mac(port, created); mac != (odp.MAC{}) && l.Address != mac.String() {
		errs = append(errs, conn.SetAddress(l, mac))
	}
	if created {
		errs = append(errs, conn.Announce(l))
	}
	return errors.Join(errs...)
}

// SetUpLocalPort gives the local port of a datapath that was just created its MAC, if no entry
// of the configuration does.
func (s *Manager) SetUpLocalPort(dp *dpif.Datapath) error {
	s.mu.Lock()
	_, configured := s.internal[s.datapath]
	s.mu.Unlock()
	if configured || !s.datapathCreated {
		return nil
	}
	l, err := s.conn.LinkAt(int(dp.Index()))
	if err != nil {
		return err
	}
	return s.identify(s.conn, l, &config.Port{Name: s.datapath}, true)
}

// address gives a device its addresses and removes those that it got from the Manager before.
// It removes first: when the kernel removes an address, it also removes later ones of the same
// network.
func (s *Manager) address(conn *device.Conn, l device.Link, port *config.Port) error {
	want := port.Address
	var errs []error
	var given []netip.Prefix
	for _, a := range s.given[port.Name] {
		if slices.Contains(want, config.Prefix{Prefix: a}) {
			continue
		}
		if err := conn.DeleteAddress(l, a); err != nil {
			given = append(given, a)
			errs = append(errs, err)
		}
	}
	for _, a := range want {
		err := conn.AddAddress(l, a.Prefix)
		if err == nil {
			given = append(given, a.Prefix)
		}
		errs = append(errs, err)
	}
	s.given[port.Name] = given
	return errors.Join(errs...)
}

// Sweep implements reconciler.Devices. It also removes the addresses that the Manager gave to
// the local port, which stays when its entry is removed.
func (s *Manager) Sweep(ports []reconciler.PortConfig) error {
	links, err := s.conn.Links()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		needed := func(p reconciler.PortConfig) bool { return p.Name == l.Name }
		if slices.ContainsFunc(ports, needed) {
			continue
		}
		if len(s.given[l.Name]) > 0 {
			errs = append(errs, s.address(s.conn, l, &config.Port{Name: l.Name}))
		}
		if l.Alias != s.alias() {
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
