package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// Tried counts the parts of a configuration that a kernel accepted or refused.
type Tried struct {
	StaticFlows int `json:"static_flows"`
	Meters      int `json:"meters"`
}

// Configuration installs the static flows and meters of a configuration in a temporary datapath
// in a temporary network namespace, and calls refuse with the key of each that the kernel
// refuses. It is a config.Check with a result. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN;
// without them the error matches unix.EPERM.
func Configuration(c *config.Config, refuse func(key string, err error)) (n Tried, err error) {
	list, err := staticFlows(c.Flows.Static)
	if err != nil {
		return n, err
	}
	// The calls come from the goroutine that waits for them.
	err = inSandbox(func(s *sandbox) {
		log := openKernelLog()
		defer log.close()
		for _, f := range list {
			n.StaticFlows++
			i := slices.Index(c.Flows.Static, forward.StaticFlow{Match: f.Match, Actions: f.Actions})
			if key, err := s.tryStatic(log, &f); err != nil {
				refuse(fmt.Sprintf("flows.static[%d].%s", i, key), err)
			}
		}
		for i, p := range c.Ports {
			for _, rate := range []uint32{p.Storm.Broadcast, p.Storm.Multicast, p.Storm.UnknownUnicast} {
				if rate == 0 {
					continue
				}
				n.Meters++
				if err := s.dp.SetMeter(dpif.Meter{ID: uint32(n.Meters), PacketsPerSecond: rate}); err != nil {
					refuse(fmt.Sprintf("ports[%d].storm", i), reason(err))
					break
				}
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("test the configuration on a temporary datapath: %w", err)
	}
	return n, err
}

// staticFlows returns the flows that the datapath would have if all ports existed.
func staticFlows(flows []forward.StaticFlow) ([]policy.StaticFlow, error) {
	o, err := forward.NewOverlay(forward.NewDrop(), flows)
	if err != nil {
		return nil, err
	}
	var ports []policy.Port
	for {
		o.SetPorts(ports)
		list := o.StaticFlows()
		before := len(ports)
		for _, f := range list {
			if f.Missing != "" && !slices.ContainsFunc(ports, func(p policy.Port) bool { return p.Name == f.Missing }) {
				ports = append(ports, policy.Port{No: odp.PortNo(len(ports) + 1), Name: f.Missing})
			}
		}
		if len(ports) == before {
			return list, nil
		}
	}
}

// tryStatic installs a flow. With an error it returns the key at fault.
func (s *sandbox) tryStatic(log *kernelLog, f *policy.StaticFlow) (key string, err error) {
	log.skip()
	flow := dpif.Flow{UFID: f.UFID, HasUFID: true, Key: f.Key, Mask: f.Mask, Actions: f.Do}
	if err = s.dp.PutFlow(&flow, dpif.Create); err == nil {
		return "", nil
	}
	text := log.messages()
	key = "match"
	flow.Actions = nil
	if s.dp.PutFlow(&flow, dpif.Create) == nil {
		key = "actions"
	}
	err = reason(err)
	if text != "" {
		err = fmt.Errorf("%w (%s)", err, text)
	}
	return key, err
}

// reason shortens an error to the kernel's answer.
func reason(err error) error {
	var errno unix.Errno
	if errors.Is(err, dpif.ErrNoMeters) {
		return dpif.ErrNoMeters
	}
	if errors.As(err, &errno) {
		return fmt.Errorf("the kernel refuses it: %w", errno)
	}
	return err
}

// kernelLog reads the kernel log, where openvswitch reports why it refuses a flow (OVS_NLERR of
// net/openvswitch/datapath.h, Linux 6.1), at most a few a second.
type kernelLog struct{ fd int }

// openKernelLog opens the log at its end. If that is not allowed, there are no reasons.
func openKernelLog() *kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Seek(fd, 0, unix.SEEK_END)
	}
	if err != nil {
		return &kernelLog{-1}
	}
	return &kernelLog{fd}
}

func (l *kernelLog) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
}

// skip skips earlier messages.
func (l *kernelLog) skip() {
	if l.fd >= 0 {
		_, _ = unix.Seek(l.fd, 0, unix.SEEK_END)
	}
}

// messages returns the messages of openvswitch since then.
func (l *kernelLog) messages() string {
	var list []string
	record := make([]byte, 8192) // room for at least one record
	for l.fd >= 0 {
		n, err := unix.Read(l.fd, record)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // records were overwritten
		}
		if err != nil || n <= 0 {
			break
		}
		line, _, _ := strings.Cut(string(record[:n]), "\n")
		if _, text, ok := strings.Cut(line, "openvswitch: netlink: "); ok && !slices.Contains(list, text) {
			list = append(list, strings.TrimSpace(text))
		}
	}
	return strings.Join(list, "; ")
}
