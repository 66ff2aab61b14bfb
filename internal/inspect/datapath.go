package inspect

import (
	"errors"
	"fmt"

	"dpifd/internal/device"
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// Datapath is one datapath with its ports. Counters count since the datapath was created.
type Datapath struct {
	Name     string             `json:"name"`
	Index    int32              `json:"index"`
	Features []string           `json:"features"` // OVS_DP_F_*, in lower case
	Stats    dpif.DatapathStats `json:"stats"`
	// PerCPU are the upcall sockets by CPU, with feature dispatch_upcall_per_cpu; those of the
	// ports are then unused. Empty if the kernel does not report them.
	PerCPU []Socket `json:"per_cpu_sockets,omitempty"`
	Ports  []Port   `json:"ports"` // in order of their numbers

	perCPU bool
}

// Port is one vport. Counters count since it joined the datapath.
type Port struct {
	No      odp.PortNo      `json:"port_no"`
	Name    string          `json:"name"`
	Type    string          `json:"type"`
	Ifindex uint32          `json:"ifindex,omitempty"`
	Device  string          `json:"device,omitempty"`   // kind of a netdev's device, as in ip -d link; "" for hardware
	Link    string          `json:"link,omitempty"`     // up, down or no carrier; "" for a device of another namespace
	DstPort uint16          `json:"dst_port,omitempty"` // of a tunnel
	Stats   dpif.VportStats `json:"stats"`
	// Upcalls is nil if the kernel does not count them (before Linux 6.2).
	Upcalls *UpcallStats `json:"upcalls,omitempty"`
	Sockets []Socket     `json:"upcall_sockets"`
}

// UpcallStats are the packets that the kernel tried to send as upcalls.
type UpcallStats struct {
	Packets uint64 `json:"packets"` // queued on a socket
	Errors  uint64 `json:"errors"`  // not queued: lost
}

// Reader reads datapaths of one network namespace. It serves one goroutine.
type Reader struct {
	conn *netlink.Conn
	fam  *dpif.Families
}

// NewReader opens a request socket in the network namespace of the calling thread. The error
// matches dpif.ErrNoModule if the kernel has no datapaths. The caller closes the Reader.
func NewReader() (*Reader, error) {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: requestBuf})
	if err != nil {
		return nil, err
	}
	fam, err := dpif.ResolveFamilies(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Reader{conn, fam}, nil
}

// requestBuf is the requested receive buffer in bytes.
const requestBuf = 1 << 20

// Close closes the socket.
func (r *Reader) Close() error { return r.conn.Close() }

// Names lists the datapaths by name.
func (r *Reader) Names() ([]string, error) {
	list, err := dpif.Datapaths(r.conn, r.fam)
	var names []string
	for _, info := range list {
		names = append(names, info.Name)
	}
	return names, err
}

// Datapath reads the datapath of a name. The error matches unix.ENODEV if there is none. Call
// it, like NewReader, in the datapath's network namespace: it looks up upcall sockets there.
func (r *Reader) Datapath(name string) (Datapath, error) {
	dp, err := dpif.OpenDatapath(r.conn, r.fam, name)
	if err != nil {
		return Datapath{}, err
	}
	info, err := dp.Info()
	if err != nil {
		return Datapath{}, err
	}
	vports, err := dp.Vports()
	if err != nil {
		return Datapath{}, err
	}
	table, err := readSockets(info, vports)
	if err != nil {
		return Datapath{}, fmt.Errorf("datapath %s: upcall sockets: %w", name, err)
	}
	d := Datapath{Name: info.Name, Index: info.Index, Features: info.Features.Names(), Stats: info.Stats,
		PerCPU: table.all(info.PerCPUPIDs), perCPU: info.Features&dpif.FeatureDispatchPerCPU != 0, Ports: []Port{}}
	links, err := readLinks()
	if err != nil {
		return Datapath{}, fmt.Errorf("datapath %s: %w", name, err)
	}
	for _, v := range vports {
		p := Port{No: v.No, Name: v.Name, Type: v.Type.String(), Ifindex: v.Ifindex, DstPort: v.DstPort,
			Stats: v.Stats, Sockets: table.all(v.UpcallPIDs)}
		if v.Upcalls.Known {
			p.Upcalls = &UpcallStats{v.Upcalls.Success, v.Upcalls.Fail}
		}
		if l, ok := links[v.Name]; ok {
			p.Link = linkState(&l)
		}
		if l, ok := links[v.Name]; ok && v.Type == dpif.VportNetdev {
			p.Device = l.Kind
			if tunnel, ok := l.Tunnel(); ok {
				p.DstPort = tunnel.DstPort
			}
		}
		d.Ports = append(d.Ports, p)
	}
	return d, nil
}

// linkState returns whether frames can leave a device. State is IF_OPER_* of linux/if.h;
// internal ports and tunnels do not report it.
func linkState(l *device.Link) string {
	const notPresent, down, lowerLayerDown = 1, 2, 3
	switch {
	case !l.Up():
		return "down"
	case l.State == notPresent || l.State == down || l.State == lowerLayerDown:
		return "no carrier"
	}
	return "up"
}

// readLinks returns the devices of the network namespace by name.
func readLinks() (map[string]device.Link, error) {
	c, err := device.Dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	list, err := c.Links()
	links := make(map[string]device.Link, len(list))
	for _, l := range list {
		links[l.Name] = l
	}
	return links, err
}

// Datapaths reads all datapaths, in order of their names. One that is deleted meanwhile is left
// out.
func (r *Reader) Datapaths() ([]Datapath, error) {
	names, err := r.Names()
	if err != nil {
		return nil, err
	}
	list := []Datapath{}
	for _, name := range names {
		d, err := r.Datapath(name)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}
