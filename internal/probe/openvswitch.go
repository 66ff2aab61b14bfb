package probe

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"dpifd/internal/dpif"
	"dpifd/internal/genl"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// moduleFolder exists while the module is loaded or built in.
const moduleFolder = "/sys/module/openvswitch"

// openvswitch looks for the module and its families.
func (p *prober) openvswitch() {
	_, before := os.Stat(moduleFolder)
	err := withConn(func(c *netlink.Conn) (err error) {
		p.fam, err = dpif.ResolveFamilies(c)
		return err
	})
	p.require("openvswitch", "dpifd does not start, or with wait_for_module waits for the module", func() (string, error) {
		switch _, after := os.Stat(moduleFolder); {
		case err != nil:
			return "", err
		case before != nil && after == nil:
			return "the kernel loaded the module when it was asked", nil
		case after != nil:
			return "the kernel has the families, though no module is loaded", nil
		}
		return "the module is loaded or built in", nil
	})
	if err != nil {
		return
	}
	for _, f := range []*genl.Family{&p.fam.Datapath, &p.fam.Vport, &p.fam.Flow, &p.fam.Packet} {
		p.require(f.Name, "dpifd does not start", func() (string, error) { return describe(f), nil })
	}
	for _, f := range []struct {
		name, without string
		family        *genl.Family
	}{
		{"ovs_meter", noMeters, p.fam.Meter},
		{"ovs_ct_limit", "nothing changes: dpifd does not limit connections", p.fam.CTLimit},
	} {
		p.add(f.name, f.without, func() (string, error) {
			if f.family == nil {
				return "", genl.ErrNotFound
			}
			return describe(f.family), nil
		})
	}
}

func describe(f *genl.Family) string {
	s := fmt.Sprintf("id %d, version %d", f.ID, f.Version)
	for _, name := range slices.Sorted(maps.Keys(f.Groups)) {
		s += fmt.Sprintf(", group %s %d", name, f.Groups[name])
	}
	return s
}

// capability is one of capabilities(7) that dpifd can use.
type capability struct {
	name     string
	number   uint
	without  string
	required bool
}

var capabilities = []capability{
	{"cap_net_admin", unix.CAP_NET_ADMIN, "dpifd does not start: datapaths cannot be changed", true},
	{"cap_sys_admin", unix.CAP_SYS_ADMIN, "the key netns of the configuration cannot be used, nor --netns", false},
	{"cap_sys_ptrace", unix.CAP_SYS_PTRACE, "dpifd show tells the owners of this user's sockets only", false},
}

// privileges checks the effective capabilities, and tests the one that dpifd needs.
func (p *prober) privileges() {
	effective, err := effectiveCapabilities()
	for _, c := range capabilities {
		p.add(c.name, c.without, func() (string, error) {
			if err != nil {
				return "", err
			}
			if effective&(1<<c.number) == 0 {
				return "", errors.New("missing")
			}
			if c.required && p.fam != nil {
				return "effective, and the kernel takes requests to change datapaths", p.mayChange()
			}
			return "effective", nil
		})
		p.Findings[len(p.Findings)-1].Required = c.required
	}
}

// effectiveCapabilities returns the calling thread's, by number.
func effectiveCapabilities() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// absent is a name of maximum length that no datapath has.
var absent = strings.Repeat("~", unix.IFNAMSIZ-1)

// mayChange asks the kernel to change a datapath that does not exist: the kernel checks the
// privilege first.
func (p *prober) mayChange() error {
	return withConn(func(c *netlink.Conn) error {
		_, err := ovsRequest(c, &p.fam.Datapath, cmdSet, 0, func(e *netlink.Encoder) { e.String(dpAttrName, absent) })
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		return err
	})
}

// Commands and attributes of linux/openvswitch.h.
const (
	cmdGet = 3 // of families ovs_datapath, ovs_vport, ovs_flow and ovs_ct_limit
	cmdSet = 4 // of ovs_datapath, ovs_vport and ovs_flow

	dpAttrName           = 1
	dpAttrUserFeatures   = 5
	dpAttrMasksCacheSize = 7
	dpAttrPerCPUPIDs     = 8

	meterCmdFeatures   = 1
	meterAttrMaxMeters = 7
	meterAttrMaxBands  = 8

	decTTLAttrAction = 1
	psampleAttrGroup = 1
)

// ovsRequest sends a request about the datapath of an index and returns the
// attributes of the answer, borrowed until the next.
func ovsRequest(c *netlink.Conn, f *genl.Family, cmd uint8, index int32, attrs func(*netlink.Encoder)) ([]byte, error) {
	var e netlink.Encoder
	e.Begin(f.ID, 0)
	genl.AppendHeader(&e, cmd, f.Version)
	e.RawUint32(uint32(index)) // struct ovs_header
	if attrs != nil {
		attrs(&e)
	}
	e.End()
	answer, err := c.Transact(&e)
	if err != nil || answer == nil {
		return nil, err
	}
	_, _, rest, err := genl.ParseHeader(answer)
	if err != nil {
		return nil, err
	}
	if len(rest) < 4 {
		return nil, fmt.Errorf("%w: no struct ovs_header", netlink.ErrMalformed)
	}
	return rest[4:], nil
}
