package forward

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/revalidator"

	"golang.org/x/sys/unix"
)

// atRest is a datapath with its handlers, ports and revalidator, in which one thing happens after
// the other, in random order.
type atRest struct {
	t       *testing.T
	random  *rand.Rand
	policy  policy.Policy
	reval   *revalidator.Revalidator
	ids     uint64
	answers int    // flows decided for the answers to packets
	looked  uint64 // the policy's generation at the last full dump
	step    func() // what else happens during a dump; nil for nothing
	looking bool   // a dump is running; no time passes then, because full dumps are rare when they are slow

	ports  []odp.PortNo
	since  map[odp.PortNo]int64
	flying []*tableFlow // decided by a handler, but not yet in the kernel

	table []*tableFlow
}

// tableFlow is a flow of the kernel's table.
type tableFlow struct {
	*swFlow
	id      dpif.UFID
	actions []byte
	used    int64 // ms
}

// find returns the flow with an identifier, nil if there is none.
func (m *atRest) find(id dpif.UFID) *tableFlow {
	i := slices.IndexFunc(m.table, func(f *tableFlow) bool { return f.id == id })
	if i < 0 {
		return nil
	}
	return m.table[i]
}

// taking returns a flow that matches the packet, any if there are several.
func (m *atRest) taking(k *swKey) *tableFlow {
	var all []*tableFlow
	for _, f := range m.table {
		if f.takes(k) {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[m.random.IntN(len(all))]
}

// put is ovs_flow_cmd_new of net/openvswitch/datapath.c.
func (m *atRest) put(f *tableFlow) unix.Errno {
	if m.find(f.id) != nil || m.taking(&f.key) != nil {
		return unix.EEXIST
	}
	m.table = append(m.table, f)
	return 0
}

// kernel answers requests of the revalidator.
func (m *atRest) kernel(r dpiftest.Request) (replies [][]byte, errno unix.Errno) {
	var id dpif.UFID
	var key, mask, actions []byte
	it := netlink.NewAttrs(r.Attrs)
	for it.Next() {
		switch it.Type() { // enum ovs_flow_attr
		case 1:
			key = it.Data()
		case 2:
			actions = bytes.Clone(it.Data())
		case 7:
			mask = it.Data()
		case 9:
			copy(id[:], it.Data())
		}
	}
	switch {
	case r.Family == dpiftest.MeterFamily:
		return nil, unix.EOPNOTSUPP
	case r.Family == dpiftest.DatapathFamily:
		stats := make([]byte, 32) // struct ovs_dp_stats
		binary.NativeEndian.PutUint64(stats[24:], uint64(len(m.table)))
		var e netlink.Encoder
		e.Attr(3, stats)
		return [][]byte{e.Bytes()}, 0
	case r.Dump:
		return m.dump(len(r.Attrs) > 0), 0
	case r.Cmd == 1: // OVS_FLOW_CMD_NEW
		f, err := newSWFlow(key, mask)
		if err != nil {
			m.t.Errorf("the kernel refuses a flow of the revalidator: %v", err)
			return nil, unix.EINVAL
		}
		return nil, m.put(&tableFlow{f, id, actions, 0})
	}
	f := m.find(id)
	if f == nil {
		return nil, unix.ENOENT
	}
	switch r.Cmd {
	case 2: // OVS_FLOW_CMD_DEL
		m.table = slices.DeleteFunc(m.table, func(g *tableFlow) bool { return f == g })
	case 4: // OVS_FLOW_CMD_SET
		f.actions = actions
		return nil, 0
	}
	return [][]byte{m.message(f, false)}, 0
}

func (m *atRest) dump(terse bool) (list [][]byte) {
	for _, f := range m.table {
		list = append(list, m.message(f, terse))
	}
	m.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// message encodes a flow as the kernel dumps it.
func (m *atRest) message(f *tableFlow, terse bool) []byte {
	var e netlink.Encoder
	e.Attr(9, f.id[:])
	if f.used != 0 {
		e.Uint64(5, uint64(f.used))
	}
	if !terse {
		key, mask := f.dump()
		e.Attr(1, key)
		e.Attr(7, mask)
		e.Attr(2, f.actions)
	}
	return e.Bytes()
}

// packet lets the kernel forward a packet, or a handler decide on it. Then the handler's flow is in
// flight, and sometimes also that of the packet's answers.
func (m *atRest) packet() {
	p := randomWirePacket(m.random)
	if !slices.Contains(m.ports, odp.PortNo(p.in)) {
		return
	}
	k := p.key()
	if m.forwards(&k) {
		return
	}
	key := k.attributes(&k, false)
	v := decide(m.policy, key, clock.NowMS())
	if v.Renew {
		m.renew(key)
	}
	if !v.Install || k.malformed() {
		return
	}
	if v.Stage == policy.FirstStage {
		second := k
		second.put32(swRecirc, policy.RecircID)
		m.fly(second.attributes(&second, false), v)
		v = firstFlow(v)
	}
	u := dpif.Upcall{Key: key}
	var answer odp.L2Key
	if v.HasPeer && answer.Of(u.Fields(), v.Mask.Bytes()) {
		answer.Reverse(v.Peer)
		if r, keep := redecide(m.policy, answer[:]); keep && r.Install && odp.MasksL2(r.Mask.Bytes()) {
			m.answers++
			m.fly(answer[:], r)
		}
	}
	m.fly(key, v)
}

// forwards lets the kernel's flows forward a packet, and reports whether any matches. If not, k is
// the key of the upcall.
func (m *atRest) forwards(k *swKey) bool {
	for {
		f := m.taking(k)
		if f == nil {
			return false
		}
		f.used = clock.NowMS()
		if !bytes.Equal(f.actions, recirculate) {
			return true
		}
		k.put32(swRecirc, policy.RecircID)
	}
}

// fly sends the flow of a verdict to the kernel.
func (m *atRest) fly(key []byte, v *policy.Verdict) {
	f, err := newSWFlow(key, v.Mask.Bytes())
	if err != nil {
		m.t.Fatal(err)
	}
	m.ids++
	m.flying = append(m.flying, &tableFlow{f, dpif.NewUFID(m.ids, clock.NowMS()), v.Actions.Bytes(), 0})
}

// renew changes flows in the table by the handler's requests.
func (m *atRest) renew(of []byte) {
	var key netlink.Encoder
	var v policy.Verdict
	for i := 0; learningOf(m.policy).Renewal(of, i, &key, &v); i++ {
		if v.Install {
			sw, err := newSWFlow(key.Bytes(), v.Mask.Bytes())
			if err != nil {
				m.t.Fatal(err)
			}
			if v.Stage == policy.FirstStage {
				m.table = slices.DeleteFunc(m.table, func(f *tableFlow) bool { return f.same(sw) })
			}
			for _, f := range m.table {
				if f.same(sw) {
					f.actions = bytes.Clone(v.Actions.Bytes())
				}
			}
		}
		key.Clear()
		v.Clear()
	}
}

// land lets the first flows in flight arrive: all of them, or n.
func (m *atRest) land(n int) {
	for _, f := range m.flying[:n] {
		m.put(f)
	}
	m.flying = slices.Delete(m.flying, 0, n)
}

// change adds a port to the datapath or removes one. The handlers may still have packets of a
// removed port.
func (m *atRest) change() {
	no := anyOf[odp.PortNo](m.random, 1, 2, 3, deviceNo, 9)
	if i := slices.Index(m.ports, no); i >= 0 {
		m.ports = slices.Delete(m.ports, i, i+1)
	} else {
		m.ports = append(m.ports, no)
		m.since[no] = clock.NowMS()
	}
	m.setPorts()
}

func (m *atRest) setPorts() {
	list := portList(m.ports...)
	for i := range list {
		list[i].SinceMS = m.since[list[i].No]
	}
	m.policy.SetPorts(list)
}

// any lets one random thing happen, except in the revalidator.
func (m *atRest) any() {
	switch n := m.random.IntN(100); {
	case n < 75:
		m.packet()
	case n < 92:
		m.land(m.random.IntN(len(m.flying) + 1))
	case n < 96 && !m.looking:
		time.Sleep(time.Duration(m.random.IntN(1000)) * time.Millisecond)
	case n == 97:
		m.restage()
	case n < 98:
		m.change()
	case n == 98:
		if l := learningOf(m.policy); l != nil {
			l.Flush(clock.NowMS(), func(uint16, odp.PortNo) bool { return m.random.IntN(2) == 0 })
		}
	default: // another program deletes a flow
		if n := len(m.table); n > 0 {
			m.table = slices.Delete(m.table, n-1, n)
		}
	}
}

// restage changes the number of stages of a VLAN's flows, as BalanceStages does.
func (m *atRest) restage() {
	if l, ok := m.policy.(*Learning); ok { // with static flows there is one stage
		l.stages.set(l.stageVLAN(anyOf[uint16](m.random, 0, 5, 6, 7)), m.random.IntN(2) == 0)
		l.generation.Add(1)
	}
}

func learningOf(p policy.Policy) *Learning {
	if o, ok := p.(*Overlay); ok {
		p = o.Policy
	}
	l, _ := p.(*Learning)
	return l
}

// policyAtRest is the policy as the revalidator sees it: other things happen while it decides on
// flows.
type policyAtRest struct {
	policy.Policy
	m *atRest
}

func (p policyAtRest) Redecide(key []byte, v *policy.Verdict) bool {
	if p.m.step != nil && p.m.random.IntN(3) == 0 {
		p.m.looking = true
		p.m.step()
		p.m.looking = false
	}
	return p.Policy.Redecide(key, v)
}

// StaticFlows implements policy.StaticPolicy.
func (p policyAtRest) StaticFlows() []policy.StaticFlow {
	if o, ok := p.Policy.(*Overlay); ok {
		return o.StaticFlows()
	}
	return nil
}

func newAtRest(t *testing.T, random *rand.Rand) (*atRest, string) {
	p, what := randomPolicy(t, random)
	if o, ok := p.(*Overlay); ok && random.IntN(2) == 0 {
		o.PerPort()
		o.made = false
		p.SetPorts(portList(1, 2, 3, deviceNo))
	}
	return &atRest{t: t, random: random, policy: p, ports: []odp.PortNo{1, 2, 3, deviceNo},
		since: map[odp.PortNo]int64{}}, what
}

// serve starts the revalidator; m answers its requests to dp.
func (m *atRest) serve(dp *dpif.Datapath) {
	random := m.random
	if l := learningOf(m.policy); l != nil {
		l.agingMS = 1 + random.Int64N(3000)
		l.UseMeters(false)
		if random.IntN(3) == 0 {
			l.table = newTable(1 + random.IntN(4))
			m.setPorts()
		}
	}
	m.reval = revalidator.New(revalidator.Config{
		Datapath: dp, Policy: policyAtRest{m.policy, m},
		Limits: revalidator.Limits{MaxIdle: time.Duration(1+random.IntN(30)) * time.Second},
		Budget: revalidator.NewBudget(0), Hasher: odp.NewMaskedHasher(), Notify: func(event.Event) {},
		Barrier: func() { m.land(len(m.flying)) }, CreditSpoofed: func(odp.PortNo, uint64) {},
	})
}

func (m *atRest) cycle(full bool) {
	m.t.Helper()
	generation, before := m.policy.Generation(), m.reval.Counters().FullCycles
	if err := m.reval.Cycle(context.Background(), full); err != nil {
		m.t.Fatal(err)
	}
	if m.reval.Counters().FullCycles > before {
		m.looked = generation
	}
}

// settle runs cycles until the revalidator has nothing more to do.
func (m *atRest) settle() {
	m.t.Helper()
	const most = 200
	for range most {
		if m.looked == m.policy.Generation() && !m.policy.Expiring(clock.NowMS()) && m.staticsAreIn() {
			return
		}
		time.Sleep(500 * time.Millisecond)
		m.cycle(false)
	}
	m.t.Fatalf("not settled after %d cycles: full dump at generation %d of %d, expiring %v, static flows in place %v, %+v", most,
		m.looked, m.policy.Generation(), m.policy.Expiring(clock.NowMS()), m.staticsAreIn(), m.reval.Counters())
}

func (m *atRest) staticsAreIn() bool {
	for _, s := range (policyAtRest{m.policy, m}).StaticFlows() {
		if f := m.find(s.UFID); s.Missing == "" && (f == nil || !bytes.Equal(f.actions, s.Do)) {
			return false
		}
	}
	return true
}

// check compares each flow except static ones with the policy's current decision.
func (m *atRest) check(what string) {
	m.t.Helper()
	statics := (policyAtRest{m.policy, m}).StaticFlows()
	policys := slices.DeleteFunc(slices.Clone(m.table), func(f *tableFlow) bool {
		return slices.ContainsFunc(statics, func(s policy.StaticFlow) bool { return s.UFID == f.id })
	})
	for _, f := range policys {
		key, mask := f.dump()
		v, keep := redecide(m.policy, key)
		if !keep && v.Reason == "source_unknown" && !m.isWanted(key, policys) {
			continue
		}
		covers, err := odp.MaskCovers(mask, v.Mask.Bytes())
		if !keep || !v.Install || !bytes.Equal(f.actions, v.Actions.Bytes()) || !covers || err != nil {
			m.t.Fatalf("%s\n%s: actions %s, re-decided %v: %s, mask covered %v (%v)", what, odp.Text{}.AppendKey(nil, key, mask),
				odp.Text{}.AppendActions(nil, f.actions), keep, verdictText(v), covers, err)
		}
	}
}

// isWanted reports whether one of the flows goes to the source of the flow with that key. A flow
// whose source has aged out stays as long as nobody sends to it.
func (m *atRest) isWanted(key []byte, flows []*tableFlow) bool {
	l := learningOf(m.policy)
	set := l.load()
	addresses := func(key []byte) (src, dst uint64) {
		var k odp.Key
		var f frame
		if odp.ParseKey(key, &k) != nil || set.admit(key, &k, &f) != "" {
			return 0, 0
		}
		return l.macKey(f.vlan, k.EthSrc), l.macKey(f.vlan, k.EthDst)
	}
	src, _ := addresses(key)
	return slices.ContainsFunc(flows, func(f *tableFlow) bool {
		k, _ := f.dump()
		_, dst := addresses(k)
		return dst == src && !f.key.group()
	})
}

// group reports whether the packet's destination is a multicast address.
func (k *swKey) group() bool { return k.at(swDst)[0]&1 != 0 }

// live lets things happen, and compares flows after they have settled.
func (m *atRest) live(what string) (flows int) {
	m.cycle(true)
	for range 16 {
		m.step = m.any
		for range anyOf(m.random, 1, 2, 5, 10, 100) {
			if m.random.IntN(12) == 0 {
				m.cycle(false)
			} else {
				m.any()
			}
		}
		m.step = nil
		m.settle()
		m.land(len(m.flying))
		flows += len(m.table)
		m.check(what)
	}
	return flows
}

// TestAtRest combines packets, handlers whose flows arrive late, changes of ports, MACs that move,
// age and are evicted, static flows, and the revalidator. When everything has settled, no flow in
// the kernel differs from what the policy decides.
func TestAtRest(t *testing.T) {
	t.Parallel()
	flows, answers := 0, 0
	var m *atRest
	dp := dpiftest.NewDatapath(t, func(r dpiftest.Request) ([][]byte, unix.Errno) { return m.kernel(r) })
	round := func(random *rand.Rand) {
		var what string
		m, what = newAtRest(t, random)
		synctest.Test(t, func(t *testing.T) {
			for clock.NowMS() <= 0 { // synctest's clock starts in the past
				time.Sleep(365 * 24 * time.Hour)
			}
			m.t = t
			m.serve(dp)
			flows += m.live(what)
			answers += m.answers
		})
	}
	rounds(t, round)
	// On a slow machine the few rounds may all have policies without answers.
	for more := 100; answers == 0 && more > 0 && *modelSeed == 0; more-- {
		rounds(t, round)
	}
	t.Logf("%d flows were compared, %d decided for answers", flows, answers)
	if flows == 0 || answers == 0 {
		t.Error("the model lacks flows")
	}
}
