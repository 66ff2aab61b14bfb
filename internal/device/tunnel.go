package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// ErrDiffers means that a device has the name of a tunnel device, but other attributes.
var ErrDiffers = errors.New("a device of that name exists and differs")

// greCollectMetadata is IFLA_GRE_COLLECT_METADATA, linux/if_tunnel.h.
const greCollectMetadata = 18

// A tunnel device accepts packets of any size from the datapath; the device below limits them.
// All kinds accept a little less than 65,535. If GRE refuses that too, it gets gretapMTU, as
// with Open vSwitch.
const (
	tunnelMTU = 65000
	gretapMTU = 1450
)

// Kind is a kind of tunnel device, as in IFLA_INFO_KIND.
type Kind string

// The kinds. GRE over IPv6 is a separate kind; VXLAN and Geneve devices serve both.
const (
	VXLAN  Kind = "vxlan"
	Geneve Kind = "geneve"
	GRE    Kind = "gretap"
	GRE6   Kind = "ip6gretap"
)

// Tunnel is a tunnel device.
type Tunnel struct {
	Kind    Kind
	DstPort uint16 // UDP port, 0 for GRE and GRE6
}

// Name returns the device's name, which is Open vSwitch's.
func (t Tunnel) Name() string {
	switch t.Kind {
	case VXLAN:
		return fmt.Sprintf("vxlan_sys_%d", t.DstPort)
	case Geneve:
		return fmt.Sprintf("genev_sys_%d", t.DstPort)
	case GRE:
		return "gre_sys"
	default:
		return "ip6gre_sys"
	}
}

// Create ensures that the tunnel's device exists and is up. A new device gets alias as its
// mark. An existing one must have the same relevant attributes; otherwise the error matches
// ErrDiffers and names each difference. Create reports whether it created the device.
func (c *Conn) Create(t Tunnel, alias string) (created bool, err error) {
	name := t.Name()
	c.link(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, unix.IFF_UP, unix.IFF_UP)
	c.enc.String(unix.IFLA_IFNAME, name)
	c.enc.Uint32(unix.IFLA_MTU, tunnelMTU)
	c.enc.Nested(unix.IFLA_LINKINFO, func(e *netlink.Encoder) {
		e.String(unix.IFLA_INFO_KIND, string(t.Kind))
		e.Nested(unix.IFLA_INFO_DATA, t.appendData)
	})
	_, err = c.transact()
	if errors.Is(err, unix.EEXIST) {
		return false, c.reuse(t, err)
	}
	if err != nil {
		return false, fmt.Errorf("create %s device %s: %w", t.Kind, name, err)
	}
	l, err := c.Link(name)
	if err == nil {
		err = c.finish(l, t, alias)
	}
	if err != nil {
		return false, errors.Join(err, c.undo(l))
	}
	return true, nil
}

// undo deletes a device that could not be finished.
func (c *Conn) undo(l Link) error {
	if l.Index == 0 {
		return nil
	}
	if err := c.Delete(l); !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// finish marks a new device and checks its attributes, because a kernel ignores attributes that
// it does not know.
func (c *Conn) finish(l Link, t Tunnel, alias string) error {
	if err := t.differences(l); err != nil {
		return fmt.Errorf("the kernel does not make %s devices as needed: %w", t.Kind, err)
	}
	c.link(unix.RTM_NEWLINK, 0, l.Index, 0, 0)
	c.enc.String(unix.IFLA_IFALIAS, alias)
	if _, err := c.transact(); err != nil {
		return fmt.Errorf("set alias of device %s: %w", l.Name, err)
	}
	if t.Kind != GRE && t.Kind != GRE6 {
		return nil
	}
	// The GRE driver ignores the MTU of a new device.
	if c.SetMTU(l, tunnelMTU) == nil {
		return nil
	}
	return c.SetMTU(l, gretapMTU)
}

// reuse uses the device that exists when the kernel refused to create one.
func (c *Conn) reuse(t Tunnel, exists error) error {
	l, err := c.Link(t.Name())
	if errors.Is(err, unix.ENODEV) {
		// The kernel has only one such device in a namespace, whatever its name.
		return fmt.Errorf("create %s device %s: another device of the namespace has its place (find it with: ip -d "+
			"link show type %s): %w",
			t.Kind, t.Name(), t.Kind, exists)
	}
	if err == nil {
		err = t.differences(l)
	}
	if err == nil && !l.Up() {
		err = c.SetUp(l)
	}
	return err
}

// appendData appends the content of IFLA_INFO_DATA.
func (t Tunnel) appendData(e *netlink.Encoder) {
	switch t.Kind {
	case VXLAN:
		e.Uint8(unix.IFLA_VXLAN_LEARNING, 0)
		e.Uint8(unix.IFLA_VXLAN_COLLECT_METADATA, 1)
		e.Uint8(unix.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1)
		appendPort(e, unix.IFLA_VXLAN_PORT, t.DstPort)
	case Geneve:
		e.Flag(unix.IFLA_GENEVE_COLLECT_METADATA)
		e.Uint8(unix.IFLA_GENEVE_UDP_ZERO_CSUM6_RX, 1)
		appendPort(e, unix.IFLA_GENEVE_PORT, t.DstPort)
	default:
		e.Flag(greCollectMetadata)
	}
}

// differences returns an error that names the attributes of l that differ from those of t, nil
// if none differ.
func (t Tunnel) differences(l Link) error {
	if l.Kind != string(t.Kind) {
		kind := l.Kind
		if kind == "" {
			kind = "no virtual device"
		}
		return fmt.Errorf("device %s: %w: it is %s, not %s", l.Name, ErrDiffers, kind, t.Kind)
	}
	has, err := t.parseData(l.data)
	if err != nil {
		return fmt.Errorf("device %s: %w", l.Name, err)
	}
	var wrong []string
	if !has.metadata {
		wrong = append(wrong, "it has a peer of its own (is not external)")
	}
	if has.learning {
		wrong = append(wrong, "it learns addresses")
	}
	if has.extended {
		wrong = append(wrong, "it has the GBP or GPE extension")
	}
	if !has.zeroCsum6 {
		wrong = append(wrong, "it refuses UDP over IPv6 without checksum (noudp6zerocsumrx)")
	}
	if has.port != t.DstPort {
		wrong = append(wrong, fmt.Sprintf("its port is %d, not %d", has.port, t.DstPort))
	}
	if wrong != nil {
		return fmt.Errorf("device %s: %w: %s", l.Name, ErrDiffers, strings.Join(wrong, "; "))
	}
	return nil
}

// tunnelData is the relevant part of IFLA_INFO_DATA.
type tunnelData struct {
	metadata, learning, extended, zeroCsum6 bool
	port                                    uint16
}

func (t Tunnel) parseData(b []byte) (tunnelData, error) {
	d := tunnelData{zeroCsum6: t.Kind == GRE || t.Kind == GRE6} // these have no UDP
	it := netlink.NewAttrs(b)
	port := func() {
		if p := it.Data(); len(p) == 2 {
			d.port = binary.BigEndian.Uint16(p)
		}
	}
	for it.Next() {
		switch t.Kind {
		case VXLAN:
			switch it.Type() {
			case unix.IFLA_VXLAN_LEARNING:
				d.learning = it.Uint8() != 0
			case unix.IFLA_VXLAN_COLLECT_METADATA:
				d.metadata = it.Uint8() != 0
			case unix.IFLA_VXLAN_UDP_ZERO_CSUM6_RX:
				d.zeroCsum6 = it.Uint8() != 0
			case unix.IFLA_VXLAN_GBP, unix.IFLA_VXLAN_GPE:
				d.extended = true
			case unix.IFLA_VXLAN_PORT:
				port()
			}
		case Geneve:
			switch it.Type() {
			case unix.IFLA_GENEVE_COLLECT_METADATA:
				d.metadata = true
			case unix.IFLA_GENEVE_UDP_ZERO_CSUM6_RX:
				d.zeroCsum6 = it.Uint8() != 0
			case unix.IFLA_GENEVE_PORT:
				port()
			}
		default:
			d.metadata = d.metadata || it.Type() == greCollectMetadata
		}
	}
	return d, it.Err()
}

// Tunnel returns which tunnels the device serves, false if it is of another kind or malformed.
func (l *Link) Tunnel() (Tunnel, bool) {
	t := Tunnel{Kind: Kind(l.Kind)}
	switch t.Kind {
	case VXLAN, Geneve, GRE, GRE6:
	default:
		return Tunnel{}, false
	}
	d, err := t.parseData(l.data)
	t.DstPort = d.port
	return t, err == nil
}
