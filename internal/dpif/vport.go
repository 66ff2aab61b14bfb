package dpif

import (
	"fmt"
	"slices"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// VportType is enum ovs_vport_type.
type VportType uint32

// Vport types, linux/openvswitch.h.
const (
	VportNetdev   VportType = 1 // a network device attached to the datapath
	VportInternal VportType = 2 // a network device created by the datapath
	VportGRE      VportType = 3
	VportVXLAN    VportType = 4
	VportGeneve   VportType = 5
)

func (t VportType) String() string {
	switch t {
	case 0:
		return "none" // a handler's socket
	case VportNetdev:
		return "netdev"
	case VportInternal:
		return "internal"
	case VportGRE:
		return "gre"
	case VportVXLAN:
		return "vxlan"
	case VportGeneve:
		return "geneve"
	default:
		return fmt.Sprintf("type%d", uint32(t))
	}
}

// Vport is the kernel's view of one port of the datapath.
type Vport struct {
	No         odp.PortNo
	Name       string
	Type       VportType
	UpcallPIDs []uint32 // netlink port ids that get the port's upcalls
	DstPort    uint16   // of a tunnel created by the datapath, in host byte order; 0 if there is none
	Ifindex    uint32   // 0 if the kernel does not report it (Linux < 4.20)
	// Elsewhere: the device is in another network namespace, whose id in the datapath's is
	// Netns (ip netns list-id). Kernels before 4.15 do not report it.
	Elsewhere bool
	Netns     int32
	Stats     VportStats
	Upcalls   UpcallStats
}

// VportStats is struct ovs_vport_stats: packets and bytes since the port
// joined the datapath.
type VportStats struct {
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxPackets uint64 `json:"tx_packets"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

// UpcallStats counts the packets of a vport that the kernel tried to send as upcalls since the
// vport was created (OVS_VPORT_ATTR_UPCALL_STATS, Linux >= 6.2).
type UpcallStats struct {
	Known   bool   // the kernel counts them
	Success uint64 // queued on an upcall socket
	Fail    uint64 // not queued although a socket was named: lost
}

// Vports lists the datapath's ports in order of their numbers.
func (d *Datapath) Vports() ([]Vport, error) {
	var list []Vport
	d.begin(&d.fam.Vport, cmdGet, unix.NLM_F_DUMP)
	d.enc.End()
	err := d.conn.Dump(&d.enc, func() { list = list[:0] }, func(_ netlink.Header, b []byte) error {
		v, err := vportOf(b)
		if err == nil {
			list = append(list, v)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("datapath %s: list vports: %w", d.name, err)
	}
	slices.SortFunc(list, func(a, b Vport) int { return int(a.No) - int(b.No) })
	return list, nil
}

// NewVport is a vport to be created. For No 0 the kernel chooses the lowest free number.
type NewVport struct {
	Name      string
	Type      VportType
	No        odp.PortNo
	UpcallPID uint32
}

// AddVport attaches the network device of the given name, or creates an internal one. pid receives
// its upcalls from the first packet on. Errors: ENODEV, the device does not exist; EBUSY, it
// belongs to another datapath or bridge, or the number to another port; EEXIST, it is a port
// already.
func (d *Datapath) AddVport(name string, t VportType, no odp.PortNo, pid uint32) (v Vport, err error) {
	fault := d.AddVports([]NewVport{{name, t, no, pid}}, func(_ int, made Vport, e error) { v, err = made, e })
	if err == nil {
		err = fault
	}
	return v, err
}

// AddVports is AddVport for several ports, sent together. each is called for every port, in
// order, and must not use d. The error is that of d's socket; each got it too.
func (d *Datapath) AddVports(list []NewVport, each func(i int, v Vport, err error)) error {
	d.ops.Reset()
	for _, n := range list {
		e := d.ops.Begin(d.fam.Vport.ID, unix.NLM_F_REQUEST|unix.NLM_F_ECHO)
		appendHeaders(e, &d.fam.Vport, cmdNew, d.idx)
		e.String(vportAttrName, n.Name)
		e.Uint32(vportAttrType, uint32(n.Type))
		if n.No != 0 {
			e.Uint32(vportAttrPortNo, uint32(n.No))
		}
		e.Uint32(vportAttrUpcallPID, n.UpcallPID)
		d.ops.End()
	}
	return d.conn.TransactBatch(&d.ops, func(i int, b []byte, err error) {
		var v Vport
		if err == nil && b == nil {
			err = fmt.Errorf("%w: no answer to VPORT_NEW", netlink.ErrMalformed)
		}
		if err == nil {
			v, err = vportOf(b)
		}
		if err != nil {
			err = fmt.Errorf("datapath %s: add port %s: %w", d.name, list[i].Name, err)
		}
		each(i, v, err)
	})
}

// DeleteVport removes a port. The device of a netdev port stays, that of an internal port is
// deleted.
func (d *Datapath) DeleteVport(no odp.PortNo) error {
	d.begin(&d.fam.Vport, cmdDel, 0)
	d.enc.Uint32(vportAttrPortNo, uint32(no))
	if _, err := d.transact(); err != nil {
		return fmt.Errorf("datapath %s: delete port %d: %w", d.name, no, err)
	}
	return nil
}

// SetUpcallPID makes pid the only receiver of the port's upcalls; 0 disables them, and the kernel
// then counts misses of the port as lost.
func (d *Datapath) SetUpcallPID(no odp.PortNo, pid uint32) (err error) {
	fault := d.SetUpcallPIDs([]odp.PortNo{no}, []uint32{pid}, func(_ int, e error) { err = e })
	if err == nil {
		err = fault
	}
	return err
}

// SetUpcallPIDs is SetUpcallPID for several ports, sent together. each is called for every
// port, in order. The error is that of d's socket; each got it too.
func (d *Datapath) SetUpcallPIDs(ports []odp.PortNo, pids []uint32, each func(i int, err error)) error {
	d.ops.Reset()
	for i, no := range ports {
		e := d.ops.Begin(d.fam.Vport.ID, unix.NLM_F_REQUEST)
		appendHeaders(e, &d.fam.Vport, cmdSet, d.idx)
		e.Uint32(vportAttrPortNo, uint32(no))
		e.Uint32(vportAttrUpcallPID, pids[i])
		d.ops.End()
	}
	return d.conn.TransactBatch(&d.ops, func(i int, _ []byte, err error) {
		if err != nil {
			err = fmt.Errorf("datapath %s: set upcall PID of port %d: %w", d.name, ports[i], err)
		}
		each(i, err)
	})
}

// ClearUpcallPIDs sets the PIDs of all the ports to 0. Ports that no longer exist are not an error;
// the first other error is returned after all were tried.
func (d *Datapath) ClearUpcallPIDs(ports []odp.PortNo) error {
	var first error
	err := d.SetUpcallPIDs(ports, make([]uint32, len(ports)), func(_ int, err error) {
		if err != nil && first == nil && !IsGone(err) {
			first = err
		}
	})
	if err != nil {
		return fmt.Errorf("datapath %s: clear upcall PIDs: %w", d.name, err)
	}
	return first
}

// vportOf decodes an answer.
func vportOf(b []byte) (Vport, error) {
	r, err := parseReply(b)
	if err != nil {
		return Vport{}, err
	}
	return parseVport(r)
}

// parseVport decodes a message of family ovs_vport.
func parseVport(r reply) (Vport, error) {
	var v Vport
	it := netlink.NewAttrs(r.attrs)
	for it.Next() {
		b := it.Data()
		switch it.Type() {
		case vportAttrPortNo:
			v.No = odp.PortNo(it.Uint32())
		case vportAttrType:
			v.Type = VportType(it.Uint32())
		case vportAttrName:
			v.Name = it.String()
		case vportAttrUpcallPID:
			v.UpcallPIDs = uint32s(b)
		case vportAttrOptions:
			options := it.Nested()
			for options.Next() {
				if options.Type() == tunnelAttrDstPort {
					v.DstPort = options.Uint16()
				}
			}
			if err := options.Err(); err != nil {
				return v, fmt.Errorf("vport message: %w", err)
			}
		case vportAttrIfindex:
			v.Ifindex = it.Uint32()
		case vportAttrNetnsID:
			v.Elsewhere, v.Netns = true, int32(it.Uint32())
		case vportAttrUpcallStats:
			v.Upcalls = parseUpcallStats(b)
		case vportAttrStats:
			s := &v.Stats
			for i, p := range []*uint64{&s.RxPackets, &s.TxPackets, &s.RxBytes, &s.TxBytes,
				&s.RxErrors, &s.TxErrors, &s.RxDropped, &s.TxDropped} {
				*p = field64(b, 8*i)
			}
		}
	}
	if err := it.Err(); err != nil {
		return v, fmt.Errorf("vport message: %w", err)
	}
	if v.Name == "" {
		return v, fmt.Errorf("vport message: %w: no name", netlink.ErrMalformed)
	}
	return v, nil
}

// parseUpcallStats decodes the payload of OVS_VPORT_ATTR_UPCALL_STATS. Unknown attributes are
// skipped.
func parseUpcallStats(b []byte) UpcallStats {
	s := UpcallStats{Known: true}
	it := netlink.NewAttrs(b)
	for it.Next() {
		switch it.Type() {
		case vportUpcallAttrSuccess:
			s.Success = field64(it.Data(), 0)
		case vportUpcallAttrFail:
			s.Fail = field64(it.Data(), 0)
		}
	}
	if it.Err() != nil {
		return UpcallStats{}
	}
	return s
}
