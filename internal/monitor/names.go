package monitor

import (
	"errors"

	"dpifd/internal/device"
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// Ports are the names of a datapath's ports.
type Ports map[odp.PortNo]string

// datapath has the names of one datapath.
type datapath struct {
	name  string
	ports Ports
}

// names has the names of devices and datapaths.
type names struct {
	conn    *netlink.Conn // nil if datapaths are not listened to
	fam     *dpif.Families
	devices *device.Conn // nil if devices are not listened to

	links     map[int]bool
	datapaths map[int32]*datapath // by index
}

// read lists everything again.
func (n *names) read() error {
	n.links, n.datapaths = map[int]bool{}, map[int32]*datapath{}
	if n.devices != nil {
		links, err := n.devices.Links()
		if err != nil {
			return err
		}
		for _, l := range links {
			n.links[l.Index] = true
		}
	}
	if n.conn == nil {
		return nil
	}
	list, err := dpif.Datapaths(n.conn, n.fam)
	if err != nil {
		return err
	}
	for _, info := range list {
		known := &datapath{info.Name, Ports{}}
		n.datapaths[info.Index] = known
		dp, err := dpif.OpenDatapath(n.conn, n.fam, info.Name)
		if errors.Is(err, unix.ENODEV) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return err
		}
		vports, err := dp.Vports()
		if err != nil {
			return err
		}
		for _, v := range vports {
			known.ports[v.No] = v.Name
		}
	}
	return nil
}

// find returns the ports of the datapath of a name, nil if it is not known.
func (n *names) find(name string) Ports {
	for _, dp := range n.datapaths {
		if dp.name == name {
			return dp.ports
		}
	}
	return nil
}

// link decodes a notification of RTNLGRP_LINK.
func (n *names) link(h netlink.Header, payload []byte) (Event, bool, error) {
	if h.Type != unix.RTM_NEWLINK && h.Type != unix.RTM_DELLINK {
		return Event{}, false, nil
	}
	l, err := device.ParseLink(payload)
	if err != nil || payload[0] != unix.AF_UNSPEC {
		return Event{}, false, err // with a family, a bridge reports its ports
	}
	ev := Event{Link: &l, Op: dpif.Changed}
	switch {
	case h.Type == unix.RTM_DELLINK:
		ev.Op = dpif.Deleted
		delete(n.links, l.Index)
	case !n.links[l.Index]:
		ev.Op = dpif.New
		n.links[l.Index] = true
	}
	return ev, true, nil
}

// notice decodes a notification of the openvswitch families.
func (n *names) notice(h netlink.Header, payload []byte) (Event, bool, error) {
	note, ok, err := n.fam.ParseNotice(h, payload)
	if !ok || err != nil {
		return Event{}, false, err
	}
	dp := n.datapaths[note.Index]
	if dp == nil {
		dp = &datapath{"", Ports{}}
		n.datapaths[note.Index] = dp
	}
	switch {
	case note.Datapath != nil && note.Op == dpif.Deleted:
		dp.name = note.Datapath.Name
		delete(n.datapaths, note.Index)
	case note.Datapath != nil:
		dp.name = note.Datapath.Name
	case note.Vport != nil && note.Op == dpif.Deleted:
		delete(dp.ports, note.Vport.No)
	case note.Vport != nil:
		dp.ports[note.Vport.No] = note.Vport.Name
	}
	return Event{Op: note.Op, DP: dp.name, Datapath: note.Datapath, Vport: note.Vport, Flow: note.Flow}, true, nil
}

func (n *names) close() error {
	var errs []error
	if n.conn != nil {
		errs = append(errs, n.conn.Close())
	}
	if n.devices != nil {
		errs = append(errs, n.devices.Close())
	}
	return errors.Join(errs...)
}
