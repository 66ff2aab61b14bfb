// Package edit changes datapaths of the kernel on behalf of the commands del-dp,
// del-flows, add-port and del-port.
//
// It uses the same requests as the daemon, and never sets user features, so the program that
// serves the datapath keeps the features that it negotiated. Like inspect it needs no daemon.
// It needs CAP_NET_ADMIN.
package edit

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// requestBuf is the requested receive buffer in bytes.
const requestBuf = 1 << 20

// batchFlows is the number of flows deleted per request batch.
const batchFlows = 64

// Editor changes one datapath. It serves one goroutine.
type Editor struct {
	conn *netlink.Conn
	dp   *dpif.Datapath
}

// Open opens the datapath of a name in the network namespace of the calling
// thread. The error matches dpif.ErrNoModule where the kernel has no datapaths,
// unix.ENODEV where there is none of the name. The caller closes the Editor.
func Open(name string) (*Editor, error) {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: requestBuf})
	if err != nil {
		return nil, err
	}
	fam, err := dpif.ResolveFamilies(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	dp, err := dpif.OpenDatapath(conn, fam, name)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Editor{conn, dp}, nil
}

// Close closes the request socket.
func (e *Editor) Close() error { return e.conn.Close() }

// DeleteDatapath deletes the datapath with its ports and flows. Devices stay,
// except internal ports.
func (e *Editor) DeleteDatapath() error { return e.dp.Delete() }

// FlushFlows deletes all flows.
func (e *Editor) FlushFlows() error { return e.dp.FlushFlows() }

// DeleteFlows deletes the flows that selects picks, and returns their number. A flow that no
// longer exists does not count and is not an error.
func (e *Editor) DeleteFlows(selects func(*dpif.Flow) bool) (int, error) {
	var list []dpif.Flow
	err := e.dp.Flows(false, func() { list = list[:0] }, func(f *dpif.Flow) error {
		if selects(f) {
			list = append(list, dpif.Flow{UFID: f.UFID, HasUFID: f.HasUFID, Key: append([]byte(nil), f.Key...)})
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	deleted := 0
	batch := e.dp.NewBatch()
	for len(list) > 0 {
		batch.Reset()
		n := min(batchFlows, len(list))
		for i := range n {
			batch.DeleteFlow(&list[i])
		}
		list = list[n:]
		var failure error
		err := e.dp.Transact(batch, func(_ int, _ *dpif.Flow, err error) {
			switch {
			case err == nil:
				deleted++
			case !errors.Is(err, unix.ENOENT):
				failure = err
			}
		})
		if err = errors.Join(err, failure); err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// AddPort attaches the device of a name, or creates an internal port. Upcalls of the port have
// no receiver until the daemon that serves the datapath sets one.
func (e *Editor) AddPort(name string, t dpif.VportType) (odp.PortNo, error) {
	v, err := e.dp.AddVport(name, t, 0, 0)
	switch {
	case errors.Is(err, unix.ENODEV):
		err = fmt.Errorf("%w: there is no device %s, by its own name, in this network namespace", err, name)
	case errors.Is(err, unix.EBUSY):
		err = fmt.Errorf("%w: the device belongs to another datapath, bridge or bond", err)
	case errors.Is(err, unix.EEXIST):
		err = fmt.Errorf("%w: a port or device has this name", err)
	case errors.Is(err, unix.EINVAL) && t == dpif.VportNetdev:
		err = fmt.Errorf("%w: the kernel accepts Ethernet devices only, no internal ports and no loopback", err)
	}
	return v.No, err
}

// Port finds a port by its name.
func (e *Editor) Port(name string) (dpif.Vport, error) {
	list, err := e.dp.Vports()
	if err != nil {
		return dpif.Vport{}, err
	}
	names := make([]string, 0, len(list))
	for _, v := range list {
		if v.Name == name {
			return v, nil
		}
		names = append(names, v.Name)
	}
	return dpif.Vport{}, fmt.Errorf("datapath %s has no port %s; it has %s", e.dp.Name(), name, strings.Join(names, ", "))
}

// DeletePort deletes a port. The device stays, except that of an internal port.
func (e *Editor) DeletePort(no odp.PortNo) error { return e.dp.DeleteVport(no) }

// HostAddresses returns the addresses of a device through which the host is reached: those that
// are not link-local. They do not work while the device is a port. A missing device has none.
func HostAddresses(device string) []string {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	var list []string
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			list = append(list, a.String())
		}
	}
	return list
}
