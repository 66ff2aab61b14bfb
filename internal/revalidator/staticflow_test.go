package revalidator

import (
	"bytes"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"dpifd/internal/backoff"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// one is a policy with one static flow and one meter.
type one struct {
	constant
	flow   policy.StaticFlow
	meter  policy.Meter
	usable bool
}

func (p *one) StaticFlows() []policy.StaticFlow      { return []policy.StaticFlow{p.flow} }
func (p *one) Meters() []policy.Meter                { return []policy.Meter{p.meter} }
func (p *one) UseMeters(ok bool)                     { p.usable = ok }
func (p *one) Observe([]byte, int64)                 {}
func (p *one) Redecide([]byte, *policy.Verdict) bool { return false }

func newOne() *one {
	var key, mask, actions netlink.Encoder
	odp.AppendInPort(&key, 1)
	odp.AppendEthernet(&key, odp.MAC{}, odp.MAC{})
	odp.AppendInPortMask(&mask)
	odp.AppendOutput(&actions, 2)
	return &one{flow: policy.StaticFlow{Match: "in_port(1)", Actions: "2", UFID: dpif.UFID{7}, Key: key.Bytes(),
		Mask: mask.Bytes(), Do: actions.Bytes()},
		meter: policy.Meter{Meter: dpif.Meter{ID: 3, PacketsPerSecond: 100}, Port: "a"}}
}

// table is a kernel that holds the static flow of one and a meter.
type table struct {
	flow, meter       []byte // nil if it does not exist
	refuse            unix.Errno
	puts, dels, tries int
}

func (k *table) answer(r dpiftest.Request) ([][]byte, unix.Errno) {
	have := func(b []byte) ([][]byte, unix.Errno) {
		if b == nil {
			return nil, unix.ENOENT
		}
		return [][]byte{b}, 0
	}
	switch {
	case r.Family == dpiftest.DatapathFamily:
		var e netlink.Encoder
		e.Attr(3, make([]byte, 32)) // OVS_DP_ATTR_STATS
		return [][]byte{e.Bytes()}, 0
	case r.Family == dpiftest.MeterFamily && r.Cmd == 2: // OVS_METER_CMD_SET
		if k.tries++; k.refuse != 0 {
			return nil, k.refuse
		}
		var e netlink.Encoder
		e.Uint32(1, 3) // OVS_METER_ATTR_ID
		k.meter = e.Bytes()
		return nil, 0
	case r.Family == dpiftest.MeterFamily:
		return have(k.meter)
	case r.Dump && k.flow != nil:
		return [][]byte{k.flow}, 0
	case r.Dump:
		return nil, 0
	case r.Cmd == 1: // OVS_FLOW_CMD_NEW
		if k.puts++; k.refuse != 0 {
			return nil, k.refuse
		}
		k.flow = bytes.Clone(r.Attrs)
		return nil, 0
	case r.Cmd == 2: // OVS_FLOW_CMD_DEL
		k.dels++
		return nil, 0
	}
	return have(k.flow)
}

func (k *table) revalidator(t *testing.T, p *one, notify event.Sink) *Revalidator {
	t.Helper()
	return New(Config{Datapath: dpiftest.NewDatapath(t, k.answer), Policy: p, Budget: NewBudget(0),
		Hasher: odp.NewMaskedHasher(),
		Notify: notify, Barrier: func() {}})
}

func cycle(t *testing.T, r *Revalidator, full bool) {
	t.Helper()
	if err := r.Cycle(t.Context(), full); err != nil {
		t.Fatal(err)
	}
}

// TestStaticFlowAtStart: a static flow installed by an earlier process stays unchanged by the first
// full dump.
func TestStaticFlowAtStart(t *testing.T) {
	p := newOne()
	var e netlink.Encoder
	e.Attr(9, p.flow.UFID[:]) // OVS_FLOW_ATTR_*: UFID, KEY, MASK, ACTIONS, STATS
	e.Attr(1, p.flow.Key)
	e.Attr(7, p.flow.Mask)
	e.Attr(2, p.flow.Do)
	e.Attr(3, binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, 5), 500))
	k := &table{flow: e.Bytes()}
	r := k.revalidator(t, p, func(event.Event) {})
	for range 3 {
		cycle(t, r, true)
	}
	if list := r.StaticFlows(); k.puts != 0 || k.dels != 0 || len(list) != 1 || !list[0].Installed ||
		list[0].Packets != 5 {
		t.Errorf("%d puts, %d deletions, %+v", k.puts, k.dels, list)
	}
}

// TestRefusedTriedAgain: a static flow and a meter that the kernel rejects are retried with growing
// intervals, reported once, and in force as soon as the kernel accepts them.
func TestRefusedTriedAgain(t *testing.T) {
	k := &table{refuse: unix.ENOMEM}
	reported := map[string]int{}
	var r *Revalidator
	p := newOne()
	r = k.revalidator(t, p, func(e event.Event) {
		switch e.(type) {
		case StaticFlowFailed:
			reported["flow failed"]++
		case StaticFlowInstalled:
			reported["flow installed"]++
		case MetersUnusable:
			reported["meters unusable"]++
		case MeterRestored:
			reported["meter restored"]++
		}
	})
	synctest.Test(t, func(t *testing.T) {
		for clock.Now() <= 0 { // synctest's clock starts in the past
			time.Sleep(365 * 24 * time.Hour)
		}
		minutes := func(n int) {
			for end := clock.Now() + time.Duration(n)*time.Minute; clock.Now() < end; time.Sleep(cycleTime) {
				cycle(t, r, false)
			}
		}
		minutes(10)
		least, most := int(10*time.Minute/backoff.Last), int(10*time.Minute/backoff.Last*5/4)+6
		if p.usable || k.puts < least || k.puts > most || k.tries < least || k.tries > most {
			t.Errorf("in 10 minutes the flow was tried %d times, the meter %d times, want %d to %d; usable: %v", k.puts, k.tries,
				least, most, p.usable)
		}
		k.refuse = 0
		minutes(1)
		if !p.usable || k.flow == nil || k.meter == nil {
			t.Errorf("the kernel accepts them now: flow %x, meter %x, usable: %v", k.flow, k.meter, p.usable)
		}
		k.meter = nil // another program
		minutes(1)
		if k.meter == nil {
			t.Error("a deleted meter is not recreated")
		}
	})
	for _, what := range []string{"flow failed", "flow installed", "meters unusable", "meter restored"} {
		if reported[what] != 1 {
			t.Errorf("%s: reported %d times", what, reported[what])
		}
	}
}

// many is a policy with static flows.
type many struct {
	one
	flows []policy.StaticFlow
}

func (p *many) StaticFlows() []policy.StaticFlow { return p.flows }

// TestManyStaticFlows: all are installed at once; then each cycle checks a part of them, and finds
// every missing one over time.
func TestManyStaticFlows(t *testing.T) {
	p := &many{one: *newOne()}
	for i := range 3 * looksPerCycle {
		f := p.flow
		f.UFID = dpif.UFID{byte(i), byte(i >> 8)}
		p.flows = append(p.flows, f)
	}
	kernel, gets := map[dpif.UFID][]byte{}, 0
	dp := dpiftest.NewDatapath(t, func(r dpiftest.Request) ([][]byte, unix.Errno) {
		var id dpif.UFID
		it := netlink.NewAttrs(r.Attrs)
		for it.Next() {
			if it.Type() == 9 { // OVS_FLOW_ATTR_UFID
				copy(id[:], it.Data())
			}
		}
		if r.Cmd == 1 { // OVS_FLOW_CMD_NEW
			kernel[id] = bytes.Clone(r.Attrs)
			return nil, 0
		}
		gets++
		if kernel[id] == nil {
			return nil, unix.ENOENT
		}
		return [][]byte{kernel[id]}, 0
	})
	s := newStatics(dp, p, func(event.Event) {})
	s.configured()
	keep := func() {
		t.Helper()
		gets = 0
		if _, err := s.keep(); err != nil {
			t.Fatal(err)
		}
	}
	if keep(); len(kernel) != len(p.flows) {
		t.Fatalf("%d flows are installed at once, want %d", len(kernel), len(p.flows))
	}
	if keep(); gets != looksPerCycle {
		t.Errorf("%d flows are checked in a cycle", gets)
	}
	delete(kernel, p.flows[7].UFID)
	for cycles := 0; len(kernel) < len(p.flows); cycles++ {
		if keep(); cycles == 200 {
			t.Fatal("a missing flow is not found")
		}
	}
}
