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
	"dpifd/internal/lab"
	"dpifd/internal/mmapring"

	oracle "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What a kernel does is found by trying it on a datapath of the test's own, in a
// namespace of its own.

// hasPerCPU returns why the kernel does not dispatch by CPU, nil if it does. Before
// 5.4 a kernel keeps any feature, also those that it does not know.
var hasPerCPU = sync.OnceValue(func() error {
	return onScratch(func(dp *dpif.Datapath, _ *lab.NetNS) error {
		if _, err := dp.SetFeatures(dpif.FeatureDispatchPerCPU, []uint32{1}); err != nil {
			return err
		}
		info, err := dp.Info()
		if err != nil || info.PerCPUPIDs != nil {
			return err
		}
		// Linux before 6.1 does not tell the table. One that refuses what it does
		// not know keeps only what it has.
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

// scratch stands in for a test where something is tried once for all of them.
type scratch struct {
	testing.TB // none: what is not defined here is not used
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

// onScratch calls fn with a new datapath in a namespace of its own, and removes
// both.
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

// flips returns the features that `ovs-dpctl show` leaves on a datapath that has
// the given ones, or an error on a kernel where that changes none.
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

// needFlip is flips for a test that is skipped where nothing changes.
func needFlip(t *testing.T, kept dpif.Features) (after dpif.Features) {
	t.Helper()
	lab.Need(t, "features that ovs-dpctl changes", func() (err error) {
		after, err = flips(kept)
		return err
	})
	return after
}

// notified returns the commands of the messages that a multicast group of a
// family tells while fn runs.
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
		// A datagram may hold several messages, each with its length first.
		for m := buf[:n]; len(m) > 16; m = m[min(len(m), int(binary.NativeEndian.Uint32(m)+3)&^3):] {
			commands = append(commands, m[16])
		}
	}
}

// setVerb is how the kernel's notification of a changed vport or datapath reads:
// before 4.19 it has the command of a new one.
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

// flowNotices returns how often the kernel tells of a flow that ovs-dpctl adds.
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
		t.Fatalf("the kernel tells %d times of a new flow, error %v", count, err)
	}
	return count
}

// hasRings reports whether the kernel has netlink rings, which ports then get.
var hasRings = sync.OnceValue(func() bool { return mmapring.Probe(mmapring.RX) == nil })

// smallQueues is the configuration of upcall queues that a burst overflows: a
// socket's buffer of 64 KiB or, where the kernel has rings, one of 100 frames.
func smallQueues(s settings) settings {
	s["socket"] = "{rcvbuf: 64KiB}"
	s["ring"] = "{frame_size: 2560B, block_size: 64KiB, blocks: 4}"
	return s
}

// fullCause is the cause of upcalls_lost of a queue that was full.
func fullCause() string {
	if hasRings() && !perCPU {
		return "ring_full"
	}
	return "socket_overflow"
}

// hasDevice reports whether the kernel makes a device of such arguments of `ip link
// add`, and shows what it was given. On the default kernel that is required.
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
