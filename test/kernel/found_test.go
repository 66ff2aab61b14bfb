//go:build lab

package kernel_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/lab"
	"dpifd/internal/mmapring"
	"dpifd/internal/policy"

	oracle "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// These functions find out what a kernel supports by trying it on a separate datapath in its own
// namespace.

// hasPerCPU returns why the kernel does not dispatch by CPU, nil if it does. Kernels before 5.4
// accept any feature bit, also unknown ones.
var hasPerCPU = sync.OnceValue(func() error {
	return onScratch(func(dp *dpif.Datapath, _ *lab.NetNS) error {
		if _, err := dp.SetFeatures(dpif.FeatureDispatchPerCPU, []uint32{1}); err != nil {
			return err
		}
		info, err := dp.Info()
		if err != nil || info.PerCPUPIDs != nil {
			return err
		}
		// Linux before 6.1 does not report the table. A kernel that rejects unknown features keeps
		// only those that it has.
		refuses, err := dpif.RefusesUnknown(dp)
		if err == nil && (!refuses || info.Features&dpif.FeatureDispatchPerCPU == 0) {
			err = errors.New("dispatch_upcall_per_cpu has no effect")
		}
		return err
	})
})

func needPerCPU(t *testing.T) {
	t.Helper()
	lab.Need(t, "dispatch by CPU", hasPerCPU)
}

// hasMeters returns why the kernel has no meters, nil if it has (Linux 4.18).
var hasMeters = sync.OnceValue(func() error {
	return onScratch(func(dp *dpif.Datapath, _ *lab.NetNS) error {
		return dp.SetMeter(dpif.Meter{ID: 1, PacketsPerSecond: 100})
	})
})

func needMeters(t *testing.T) {
	t.Helper()
	lab.Need(t, "meters", hasMeters)
}

// hasIfindex returns why the kernel does not report the devices of vports, nil if it does (Linux
// 4.15). Without their ifindex, ports in other namespaces cannot be found.
var hasIfindex = sync.OnceValue(func() error {
	return onScratch(func(dp *dpif.Datapath, _ *lab.NetNS) error {
		list, err := dp.Vports()
		if err == nil && (len(list) != 1 || list[0].Ifindex == 0) {
			err = fmt.Errorf("vports %+v", list)
		}
		return err
	})
})

func needIfindex(t *testing.T) {
	t.Helper()
	lab.Need(t, "ifindexes of vports", hasIfindex)
}

// hasTwoTags returns why the kernel does not match a second VLAN tag, nil if it does (Linux 4.10).
var hasTwoTags = sync.OnceValue(func() error {
	return onScratch(func(dp *dpif.Datapath, _ *lab.NetNS) error {
		match := "in_port(1),eth_type(0x88a8),vlan(vid=10),encap(vlan(vid=5))"
		o, err := forward.NewOverlay(forward.NewDrop(), []forward.StaticFlow{{Match: match, Actions: "drop"}})
		if err != nil {
			return err
		}
		o.SetPorts([]policy.Port{{No: 1, Name: "p1"}})
		f := o.StaticFlows()[0]
		return dp.PutFlow(&dpif.Flow{Key: f.Key, Mask: f.Mask, Actions: f.Do}, dpif.Create)
	})
})

// scratch is the testing.TB of a probe that runs once for all tests.
type scratch struct {
	testing.TB // nil: only the methods defined here are called
	cleanups   []func()
	err        error
}

func (s *scratch) Helper()           {}
func (s *scratch) Cleanup(fn func()) { s.cleanups = append(s.cleanups, fn) }
func (s *scratch) Errorf(format string, args ...any) {
	s.err = errors.Join(s.err, fmt.Errorf(format, args...))
}
func (s *scratch) Fatal(args ...any)                 { panic(errors.New(fmt.Sprint(args...))) }
func (s *scratch) Fatalf(format string, args ...any) { panic(fmt.Errorf(format, args...)) }

// onScratch calls fn with a new datapath in a new namespace, and removes both.
func onScratch(fn func(*dpif.Datapath, *lab.NetNS) error) (err error) {
	s := &scratch{}
	defer func() {
		for _, clean := range slices.Backward(s.cleanups) {
			clean()
		}
		if failed, ok := recover().(error); ok {
			err = failed
		}
		err = errors.Join(err, s.err)
	}()
	ns := lab.NewNetNS(s, "scratch")
	conn, fam := dial(s, ns)
	dp, err := dpif.CreateDatapath(conn, fam, "scratch", dpif.FeatureUnaligned|dpif.FeatureVportPIDs)
	if err != nil {
		return err
	}
	return fn(dp, ns)
}

// flips returns the features that `ovs-dpctl show` leaves on a datapath with the features kept, or
// an error if it leaves them unchanged on this kernel.
func flips(kept dpif.Features) (after dpif.Features, err error) {
	err = onScratch(func(dp *dpif.Datapath, ns *lab.NetNS) error {
		if _, err := dp.SetFeatures(kept, nil); err != nil {
			return err
		}
		if _, err := ns.Try("ovs-dpctl", "show", dp.Name()); err != nil {
			return err
		}
		info, err := dp.Info()
		after = info.Features
		if err == nil && after == kept {
			err = fmt.Errorf("ovs-dpctl show leaves %s", kept)
		}
		return err
	})
	return after, err
}

// needFlip is flips, and skips the test if nothing changes.
func needFlip(t *testing.T, kept dpif.Features) (after dpif.Features) {
	t.Helper()
	lab.Need(t, "features that ovs-dpctl changes", func() (err error) {
		after, err = flips(kept)
		return err
	})
	return after
}

// notified returns the commands of the messages that a multicast group of a family delivers while
// fn runs.
func notified(ns *lab.NetNS, group uint32, fn func() error) (commands []byte, err error) {
	var c *oracle.Conn
	err = ns.Do(func() (err error) {
		c, err = oracle.Dial(unix.NETLINK_GENERIC, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := errors.Join(c.JoinGroup(group), fn()); err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	for buf := make([]byte, 64<<10); ; {
		n, recvErr := 0, error(nil)
		err := raw.Control(func(fd uintptr) {
			n, _, recvErr = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
		})
		if err != nil {
			return nil, err
		}
		if recvErr == unix.EAGAIN {
			return commands, nil
		}
		if recvErr != nil {
			return nil, recvErr
		}
		// A datagram may hold several messages, each beginning with its length.
		for m := buf[:n]; len(m) > 16; m = m[min(len(m), int(binary.NativeEndian.Uint32(m)+3)&^3):] {
			commands = append(commands, m[16])
		}
	}
}

// setVerb is the verb of the kernel's notification of a changed vport or datapath: before 4.19 it
// is that of a new one.
func setVerb(t *testing.T) string {
	t.Helper()
	const cmdNew = 1
	verb := "set"
	err := onScratch(func(dp *dpif.Datapath, ns *lab.NetNS) error {
		_, fam := dial(t, ns)
		told, err := notified(ns, fam.Datapath.Groups["ovs_datapath"], func() error {
			_, err := dp.SetFeatures(0, nil)
			return err
		})
		if err == nil && slices.Contains(told, cmdNew) {
			verb = "new"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return verb
}

// flowNotices returns the number of notifications for one flow that ovs-dpctl adds.
func flowNotices(t *testing.T) int {
	t.Helper()
	count := 0
	err := onScratch(func(dp *dpif.Datapath, ns *lab.NetNS) error {
		_, fam := dial(t, ns)
		told, err := notified(ns, fam.Flow.Groups["ovs_flow"], func() error {
			_, err := ns.Try("ovs-dpctl", "add-flow", dp.Name(), "in_port(1),eth(),eth_type(0x0806),arp(op=1)", "2")
			return err
		})
		count = len(told)
		return err
	})
	if err != nil || count == 0 {
		t.Fatalf("the kernel sends %d notifications of a new flow, error %v", count, err)
	}
	return count
}

// hasRings reports whether the kernel has netlink rings, in which case ports use them.
var hasRings = sync.OnceValue(func() bool { return mmapring.Probe(mmapring.RX) == nil })

// smallQueues configures upcall queues that a burst overflows: a socket buffer of 64 KiB or, on a
// kernel with rings, a ring of 100 frames.
func smallQueues(s settings) settings {
	s["socket"] = "{rcvbuf: 64KiB}"
	s["ring"] = "{frame_size: 2560B, block_size: 64KiB, blocks: 4}"
	return s
}

// fullCause is the cause of upcalls_lost for a full queue.
func fullCause() string {
	if hasRings() && !perCPU {
		return "ring_full"
	}
	return "socket_overflow"
}

// hasDevice reports whether the kernel accepts these arguments of `ip link add` and the new device
// shows them. The default kernel must accept them.
func hasDevice(t *testing.T, args ...string) bool {
	t.Helper()
	ns := lab.NewNetNS(t, "scratch")
	return lab.Has(t, "device "+strings.Join(args, " "), func() error {
		if _, err := ns.Try("/usr/sbin/ip", append([]string{"link", "add", "scratch", "type"}, args...)...); err != nil {
			return err
		}
		out, err := ns.Try("/usr/sbin/ip", "-d", "link", "show", "dev", "scratch")
		for _, word := range args {
			if err == nil && !strings.Contains(out, word) {
				err = fmt.Errorf("the device has no %s", word)
			}
		}
		return err
	})
}
