package forward

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/guard"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/snoop"
)

var (
	modelTime = flag.Duration("model.time", time.Second, "how long TestDifferential and TestAtRest go on")
	modelSeed = flag.Uint64("model.seed", 0, "seed of their first round, 0 for one of the clock")
)

// rounds calls round with one random source after the other until the time is over. It prints the
// seed that reproduces a failure: -model.seed=N -model.time=0.
func rounds(t *testing.T, round func(random *rand.Rand)) {
	t.Helper()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) >> 10
	}
	first, start := seed, time.Now()
	defer func() {
		if t.Failed() {
			t.Logf("failed at -model.seed=%d", seed)
		}
	}()
	for ; ; seed++ {
		if round(rand.New(rand.NewPCG(seed, 15))); t.Failed() {
			t.FailNow()
		}
		if time.Since(start) >= *modelTime {
			break
		}
	}
	t.Logf("seeds %d to %d", first, seed)
}

// frameTag is a VLAN tag.
type frameTag struct{ tpid, tci uint16 }

// wirePacket is a packet with few different values, so that flows often match several.
type wirePacket struct {
	in, recirc, mark, ctState uint32
	tunnel                    bool
	tunnel6                   bool
	tunnelID                  uint64
	hasID                     bool
	tunnelSrc, tunnelDst      byte
	tunnelTTL, tunnelTOS      byte
	src, dst                  odp.MAC
	tags                      []frameTag
	cut                       bool // the frame ends within a further tag
	typ                       uint16
	proto, tos, ttl, frag     byte
	a, b                      byte // bytes of the addresses
	srcPort, dstPort, flags   uint16
	icmp                      byte
	unspecified               bool // no source address
	sha, tha                  odp.MAC
	group                     uint16 // first bytes of a multicast destination, 0 for unicast
}

// wireFields choose one value each.
var wireFields = []func(r *rand.Rand, p *wirePacket){
	func(r *rand.Rand, p *wirePacket) { p.in = anyOf[uint32](r, 1, 1, 2, 3, 7, 7, 9) },
	func(r *rand.Rand, p *wirePacket) { p.recirc = anyOf[uint32](r, 0, 0, 0, 1, policy.RecircID) },
	func(r *rand.Rand, p *wirePacket) { p.mark = anyOf[uint32](r, 0, 7) },
	func(r *rand.Rand, p *wirePacket) { p.ctState = anyOf[uint32](r, 0, 0, 0x20) },
	func(r *rand.Rand, p *wirePacket) { p.tunnel, p.tunnel6 = r.IntN(4) != 0, r.IntN(6) == 0 },
	func(r *rand.Rand, p *wirePacket) { p.tunnelID, p.hasID = anyOf[uint64](r, 0, 42, 43), r.IntN(5) != 0 },
	func(r *rand.Rand, p *wirePacket) {
		p.tunnelSrc, p.tunnelDst = anyOf[byte](r, 9, 9, 8), anyOf[byte](r, 1, 2)
	},
	func(r *rand.Rand, p *wirePacket) {
		p.tunnelTTL, p.tunnelTOS = anyOf[byte](r, 60, 61), anyOf[byte](r, 0, 4)
	},
	func(r *rand.Rand, p *wirePacket) {
		p.src = anyOf(r, odp.MAC{2}, odp.MAC{2, 0, 0, 0, 0, 1}, odp.MAC{2, 0, 0, 0, 0, 2}, odp.MAC{}, odp.MAC{3, 1},
			odp.MAC{1, 2})
	},
	func(r *rand.Rand, p *wirePacket) {
		p.dst = anyOf(r, odp.MAC{2}, odp.MAC{2, 0, 0, 0, 0, 1}, odp.MAC{2, 0, 0, 0, 0, 2}, odp.MAC{2, 0, 0, 0, 0, 3},
			broadcast, odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff},
			odp.MAC{0x33, 0x33}, odp.MAC{0x33, 0x33, 1}, odp.MAC{1, 0x80, 0xc2, 0, 0, 0}, odp.MAC{1, 0x80, 0xc2, 0, 0, 0x10},
			odp.MAC{1, 0, 0x5e}, odp.MAC{1, 0, 0x5e, 0, 0, 1}, odp.MAC{1, 0, 0x5e, 0x80}, odp.MAC{1, 0, 0xc, 0xcc, 0xcc, 0xcc})
	},
	func(r *rand.Rand, p *wirePacket) {
		p.tags, p.cut = nil, r.IntN(12) == 0
		for range anyOf(r, 0, 0, 1, 1, 2, 3) {
			p.tags = append(p.tags, frameTag{anyOf[uint16](r, vlanTag, vlanTag, serviceTag),
				kernelsPresent | anyOf[uint16](r, 0, 5, 6, 7, 4095) | anyOf[uint16](r, 0, 3)<<13})
		}
	},
	func(r *rand.Rand, p *wirePacket) {
		p.typ = anyOf[uint16](r, type8022, typeIPv4, typeIPv4, typeIPv6, typeIPv6, typeARP, typeRARP, 0x88b5, 0x8847)
	},
	func(r *rand.Rand, p *wirePacket) {
		p.proto = anyOf[byte](r, isTCP, isUDP, isSCTP, isICMP, isICMPv6, 2, 99)
	},
	func(r *rand.Rand, p *wirePacket) { p.tos = anyOf[byte](r, 0, 1, 0xb8, 0xbb) },
	func(r *rand.Rand, p *wirePacket) { p.ttl = anyOf[byte](r, 1, 64) },
	func(r *rand.Rand, p *wirePacket) { p.frag = anyOf[byte](r, 0, 0, 0, 1, laterFragment) },
	func(r *rand.Rand, p *wirePacket) { p.a = byte(r.IntN(3)) },
	func(r *rand.Rand, p *wirePacket) { p.b = byte(r.IntN(3)) },
	func(r *rand.Rand, p *wirePacket) {
		p.srcPort, p.dstPort, p.flags = anyOf[uint16](r, 1, 2), anyOf[uint16](r, 53, 67, 68, 80, 546), anyOf[uint16](r, 2, 16)
	},
	func(r *rand.Rand, p *wirePacket) {
		p.icmp = anyOf[byte](r, 0, 8, 131, 133, 134, 135, 135, 136, 136, 143)
	},
	func(r *rand.Rand, p *wirePacket) { p.unspecified = r.IntN(5) == 0 },
	func(r *rand.Rand, p *wirePacket) {
		p.group = anyOf[uint16](r, 0, 239<<8, 239<<8, 224<<8, 0xff02, 0xff05, 0xff05)
	},
	func(r *rand.Rand, p *wirePacket) {
		p.sha, p.tha = anyOf(r, p.src, p.src, odp.MAC{2, 0, 0, 0, 0, 2}),
			anyOf(r, odp.MAC{}, p.src, odp.MAC{2, 0, 0, 0, 0, 3})
	},
}

func randomWirePacket(r *rand.Rand) wirePacket {
	var p wirePacket
	for _, choose := range wireFields {
		choose(r, &p)
	}
	return p
}

// neighbour returns a packet that differs in a few fields.
func (p wirePacket) neighbour(r *rand.Rand) wirePacket {
	for range 1 + r.IntN(3) {
		wireFields[r.IntN(len(wireFields))](r, &p)
	}
	return p
}

// key returns what the kernel extracts from the packet (key_extract of net/openvswitch/flow.c).
func (p *wirePacket) key() swKey {
	var k swKey
	k.put32(swInPort, p.in)
	k.put32(swRecirc, p.recirc)
	k.put32(swMark, p.mark)
	k.put32(swCTState, p.ctState)
	if p.tunnel && p.in == deviceNo {
		p.tunnelKey(&k)
	}
	copy(k.at(swSrc), p.src[:])
	copy(k.at(swDst), p.dst[:])
	for i, tag := range p.tags {
		switch i {
		case 0:
			k.put16(swTPID, tag.tpid)
			k.put16(swTCI, tag.tci)
		case 1:
			k.put16(swInnerTPID, tag.tpid)
			k.put16(swInnerTCI, tag.tci)
		default:
			k.put16(swType, tag.tpid) // the kernel reads two tags
			return k
		}
	}
	if p.cut {
		k.put16(swType, vlanTag)
		return k
	}
	k.put16(swType, p.typ)
	p.payload(&k)
	return k
}

func (p *wirePacket) tunnelKey(k *swKey) {
	k.at(swTunProto)[0] = 2
	if p.hasID {
		binary.BigEndian.PutUint64(k.at(swTunID), p.tunnelID)
		k.at(swTunFlags)[0] = tunnelHasKey
	}
	if p.tunnel6 {
		k.at(swTunProto)[0] = 10
		copy(k.at(swTunSrc6), []byte{0x20, 1, 15: p.tunnelSrc})
		copy(k.at(swTunDst6), []byte{0x20, 1, 15: p.tunnelDst})
	} else {
		copy(k.at(swTunSrc4), []byte{192, 0, 2, p.tunnelSrc})
		copy(k.at(swTunDst4), []byte{192, 0, 2, p.tunnelDst})
	}
	k.at(swTunTTL)[0], k.at(swTunTOS)[0] = p.tunnelTTL, p.tunnelTOS
}

func (p *wirePacket) payload(k *swKey) {
	v4 := func() {
		if !p.unspecified {
			copy(k.at(swSrc4), []byte{10, 0, 0, p.a})
		}
		copy(k.at(swDst4), []byte{10, 0, p.b, 1})
		if p.group != 0 {
			copy(k.at(swDst4), []byte{byte(p.group >> 8), byte(p.group)})
		}
	}
	switch p.typ {
	case typeIPv4:
		v4()
	case typeIPv6:
		if !p.unspecified {
			copy(k.at(swSrc6), []byte{0xfd, 15: p.a})
		}
		copy(k.at(swDst6), []byte{0xfd, 15: p.b})
		if p.group != 0 {
			copy(k.at(swDst6), []byte{byte(p.group >> 8), byte(p.group)})
		}
	case typeARP, typeRARP:
		v4()
		k.at(swProto)[0] = 1 + p.b&1
		copy(k.at(swSHA), p.sha[:])
		return
	default:
		return
	}
	k.at(swProto)[0], k.at(swTOS)[0], k.at(swTTL)[0], k.at(swFrag)[0] = p.proto, p.tos, p.ttl, p.frag
	if p.frag == laterFragment {
		return
	}
	switch {
	case p.proto == isTCP:
		k.put16(swTCPFlags, p.flags)
		fallthrough
	case p.proto == isUDP, p.proto == isSCTP:
		k.put16(swSrcPort, p.srcPort)
		k.put16(swDstPort, p.dstPort)
	case p.proto == isICMP && p.typ == typeIPv4, p.proto == isICMPv6 && p.typ == typeIPv6:
		k.put16(swSrcPort, uint16(p.icmp))
		if p.typ == typeIPv6 && k.isND() {
			copy(k.at(swTarget), []byte{0xfd, 15: p.b})
			copy(k.at(swSHA), p.sha[:])
			copy(k.at(swTHA), p.tha[:])
		}
	}
}

// randomConfigs returns settings of three ports, and sometimes of tunnels.
func randomConfigs(r *rand.Rand) PortConfigs {
	cfg := PortConfigs{}
	for _, name := range []string{"p1", "p2", "p3"} {
		var c PortConfig
		switch r.IntN(5) {
		case 0:
			c.VLAN.Access = anyOf[uint16](r, 5, 6)
		case 1:
			c.VLAN.Trunk = []VLANRange{{5, anyOf[uint16](r, 5, 6)}}
			c.VLAN.Native = anyOf[uint16](r, 0, 0, 6, 7)
		case 2:
			c.VLAN.Native = 5
		}
		c.Isolated, c.Hairpin = r.IntN(4) == 0, r.IntN(5) == 0
		if r.IntN(3) == 0 {
			c.Storm = StormConfig{Broadcast: anyOf[uint32](r, 0, 100), Multicast: anyOf[uint32](r, 0, 200),
				UnknownUnicast: anyOf[uint32](r, 0, 300)}
		}
		if name != "p3" && r.IntN(6) == 0 {
			c.MirrorTo = "p3"
		}
		if r.IntN(3) == 0 {
			c.Guard = randomGuard(r)
		}
		if r.IntN(2) == 0 {
			cfg[name] = c
		}
	}
	if r.IntN(2) == 0 {
		for i, name := range []string{"t0", "t1", "t2"} {
			t := &TunnelConfig{No: FirstTunnelNo + odp.PortNo(i), Device: "p7", Remote: netip.MustParseAddr("192.0.2.9"),
				Key: 42 + uint64(i&1), DstPort: 4789, TTL: 64, TOSInherit: r.IntN(3) == 0}
			if i == 2 {
				t.Local = netip.MustParseAddr("192.0.2.1")
			}
			c := PortConfig{Tunnel: t, Isolated: r.IntN(4) == 0}
			if r.IntN(3) == 0 {
				c.Guard = randomGuard(r)
			}
			if r.IntN(3) == 0 {
				c.VLAN.Access = 5
			}
			cfg[name] = c
		}
	}
	if r.IntN(4) == 0 {
		return nil
	}
	return cfg
}

// randomGroups returns members of wirePacket's groups, and routers.
func randomGroups(r *rand.Rand) (list []snoop.Entry) {
	for range 12 {
		e := snoop.Entry{VLAN: anyOf[uint16](r, 0, 5, 6), IPv6: r.IntN(2) == 0,
			Port: anyOf[odp.PortNo](r, 1, 2, 3, FirstTunnelNo), UntilMS: 1 << 40}
		if r.IntN(4) != 0 {
			e.Group = netip.AddrFrom4([4]byte{239, 0, byte(r.IntN(3)), 1})
			if e.IPv6 {
				e.Group = netip.AddrFrom16([16]byte{0xff, 5, 15: byte(r.IntN(3))})
			}
		}
		list = append(list, e)
	}
	return list
}

// randomGuard returns rules that reject some packets.
func randomGuard(r *rand.Rand) guard.Config {
	c := guard.Config{NoDHCPServer: r.IntN(2) == 0, NoRouterAdvertisements: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		c.MACs = anyOf(r, []odp.MAC{{2, 0, 0, 0, 0, 1}}, []odp.MAC{{2, 0, 0, 0, 0, 1}, {2}},
			[]odp.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2}})
	}
	for _, text := range anyOf(r, nil, []string{"10.0.0.1/32"}, []string{"10.0.0.0/31", "fd00::2/127"},
		[]string{"10.0.0.2/32", "10.0.0.0/24", "::/0"},
		[]string{"fd00::1/128", "fd00::2/128"}, []string{"fd00::/8", "0.0.0.0/0"}) {
		c.Addresses = append(c.Addresses, netip.MustParsePrefix(text))
	}
	return c
}

// randomPolicy returns a random policy with its ports, sometimes with static flows over it.
func randomPolicy(t *testing.T, r *rand.Rand) (policy.Policy, string) {
	t.Helper()
	cfg := randomConfigs(r)
	var p policy.Policy
	name := ""
	switch r.IntN(6) {
	case 0:
		p, name = newFlood(cfg), "flood"
	case 1:
		p, name = NewDrop(), "drop"
	default:
		c := Config{MACLimit: 100, Ports: cfg, SharedLearning: r.IntN(4) == 0, ForwardBPDU: r.IntN(4) == 0,
			Stages: anyOf(r, StagesOne, StagesTwo)}
		if r.IntN(2) == 0 {
			c.Multicast = MulticastConfig{Snooping: true, FloodUnregistered: r.IntN(2) == 0, GroupLimit: 10}
		}
		if r.IntN(4) == 0 {
			c.StaticMACs = []StaticMAC{{MAC: odp.MAC{2, 0, 0, 0, 0, 2}, Port: "p2"}}
		}
		l, err := NewLearning(c)
		if err != nil {
			t.Fatal(err)
		}
		l.UseMeters(r.IntN(3) != 0)
		if g := l.Groups(); g != nil {
			g.Restore(randomGroups(r))
		}
		p, name = l, fmt.Sprintf("learning in stages %d", c.Stages)
	}
	if r.IntN(2) == 0 {
		p, name = overlay(t, r, p), name+" under static flows"
	}
	p.SetPorts(portList(1, 2, 3, deviceNo))
	return p, fmt.Sprintf("%s, ports %+v", name, cfg)
}

func overlay(t *testing.T, r *rand.Rand, inner policy.Policy) policy.Policy {
	t.Helper()
	var flows []StaticFlow
	for range 30 {
		f := StaticFlow{Match: staticLike(r, randomKey(r)), Actions: anyOf(r, "drop", "1", "2,3")}
		var s *StaticError
		if _, err := CheckStatic(append(flows, f)); err == nil {
			flows = append(flows, f)
		} else if !errors.As(err, &s) {
			t.Fatal(err)
		}
	}
	o, err := NewOverlay(inner, flows[:min(len(flows), 1+r.IntN(8))])
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// install decides on a packet and creates the kernel's flow for it, nil if there is none.
func install(t *testing.T, p policy.Policy, k *swKey) (*policy.Verdict, *swFlow) {
	t.Helper()
	key := k.attributes(k, false)
	v := decide(p, key, 10)
	if v.Actions.Err() != nil || v.Mask.Err() != nil {
		t.Fatal(v.Actions.Err(), v.Mask.Err())
	}
	if !v.Install {
		return v, nil
	}
	if v.Stage == policy.FirstStage {
		checkSecond(t, p, k, v)
		v = firstFlow(v)
	}
	u := dpif.Upcall{Key: key}
	var short odp.L2Key
	if short.Of(u.Fields(), v.Mask.Bytes()) {
		key = short[:]
	}
	f, err := newSWFlow(key, v.Mask.Bytes())
	if err != nil {
		if k.malformed() {
			return v, nil // each such packet causes an upcall
		}
		t.Fatalf("%s: the kernel rejects the flow with mask %x: %v", text(k), v.Mask.Bytes(), err)
	}
	if !f.takes(k) {
		t.Fatalf("%s: the flow does not match its own packet", text(k))
	}
	return v, f
}

// checkSecond checks that the second flow of v, which has two stages, equals the decision on the
// packet in that stage.
func checkSecond(t *testing.T, p policy.Policy, k *swKey, v *policy.Verdict) {
	t.Helper()
	second := between(p, k)
	if second.Stage != policy.SecondStage || !bytes.Equal(second.Mask.Bytes(), v.Mask.Bytes()) ||
		!bytes.Equal(second.Actions.Bytes(), v.Actions.Bytes()) {
		t.Fatalf("%s: decided in two stages as %s, mask %x, then as %s, mask %x", text(k), verdictText(v),
			v.Mask.Bytes(), verdictText(second), second.Mask.Bytes())
	}
}

// firstFlow returns a verdict with the first flow of v, which has two stages.
func firstFlow(v *policy.Verdict) *policy.Verdict {
	first := &policy.Verdict{Install: true, Stage: v.Stage, Reason: v.Reason}
	first.Mask.Raw(v.SourceMask.Bytes()...)
	first.Actions.Raw(recirculate...)
	return first
}

// recirculate is the action list of first-stage flows.
var recirculate = func() []byte {
	var e netlink.Encoder
	odp.AppendRecirc(&e, policy.RecircID)
	return e.Bytes()
}()

// between decides on a packet that has passed the first stage.
func between(p policy.Policy, k *swKey) *policy.Verdict {
	again := *k
	again.put32(swRecirc, policy.RecircID)
	return decide(p, again.attributes(&again, false), 10)
}

// malformed reports whether the packet ends within a tag. The kernel dumps a key for it that it
// does not accept itself.
func (k *swKey) malformed() bool {
	return isTag(k.u16(swType)) && (k.isZero(swTCI) || k.isZero(swInnerTCI))
}

func text(k *swKey) string { return string(odp.Text{}.AppendKey(nil, k.attributes(k, false), nil)) }

// TestDifferential decides on random packets under random policies, and on others that the kernel's
// flow for the first matches: they must be decided alike, and have the same flow. So must the flow
// that the kernel dumps.
func TestDifferential(t *testing.T) {
	t.Parallel()
	pairs, covered := 0, 0
	rounds(t, func(random *rand.Rand) {
		p, what := randomPolicy(t, random)
		statics := staticFlows(t, p)
		for range 60 {
			packet := randomWirePacket(random)
			k := packet.key()
			install(t, p, &k) // so that everything in it is learned
			v, f := install(t, p, &k)
			hit := false
			for _, s := range statics {
				hit = hit || s.takes(&k)
			}
			if hit != (v.Reason == reasonStatic) {
				t.Fatalf("%s\n%s: a static flow matches: %v; decided as %s", what, text(&k), hit, v.Reason)
			}
			if f == nil {
				continue
			}
			checkDump(t, p, what, &k, v, f)
			for range 20 {
				neighbour := packet.neighbour(random)
				q := neighbour.key()
				pairs++
				if !f.takes(&q) {
					continue
				}
				covered++
				w, g := install(t, p, &q)
				if v.Stage == policy.FirstStage && (w.Stage != policy.FirstStage || !w.Install) {
					// One flow, or none, is installed for it. Both stages must decide the same.
					if second := between(p, &q); second.Reason != w.Reason || !bytes.Equal(second.Actions.Bytes(), w.Actions.Bytes()) {
						t.Fatalf("%s\n%s: %s; after the first stage %s", what, text(&q), verdictText(w),
							verdictText(second))
					}
					continue
				}
				if !bytes.Equal(v.Actions.Bytes(), w.Actions.Bytes()) || w.Reason == reasonStatic {
					t.Fatalf("%s\none flow matches both, with mask %s\n%s: %s\n%s: %s", what,
						odp.Text{}.AppendKey(nil, k.attributes(&k, false), v.Mask.Bytes()),
						text(&k), verdictText(v), text(&q), verdictText(w))
				}
				if g != nil && !g.same(f) {
					t.Fatalf("%s\nflows overlap and differ\n%s, mask %x\n%s, mask %x", what, text(&k), v.Mask.Bytes(), text(&q),
						w.Mask.Bytes())
				}
			}
		}
	})
	t.Logf("%d pairs of packets, %d in one flow", pairs, covered)
	if covered < pairs/10 {
		t.Error("too few packets match the flow of another")
	}
}

// same reports whether two flows are equal.
func (f *swFlow) same(g *swFlow) bool {
	for i := range f.key {
		if f.mask[i] != g.mask[i] || (f.key[i]^g.key[i])&f.mask[i] != 0 {
			return false
		}
	}
	return true
}

// staticFlows creates the kernel's flows for a policy's static ones; the kernel must accept all of
// them.
func staticFlows(t *testing.T, p policy.Policy) (list []*swFlow) {
	t.Helper()
	o, ok := p.(*Overlay)
	if !ok {
		return nil
	}
	for _, s := range o.StaticFlows() {
		f, err := newSWFlow(s.Key, s.Mask)
		if err != nil {
			t.Fatalf("the kernel rejects the static flow %s: %v", s.Match, err)
		}
		list = append(list, f)
	}
	return list
}

// checkDump re-decides the flow as the kernel dumps it.
func checkDump(t *testing.T, p policy.Policy, what string, k *swKey, v *policy.Verdict, f *swFlow) {
	t.Helper()
	key, mask := f.dump()
	again, keep := redecide(p, key)
	if !keep || !again.Install || !bytes.Equal(again.Actions.Bytes(), v.Actions.Bytes()) {
		t.Fatalf("%s\n%s: %s\nits flow, dumped as %x, is re-decided %v: %s", what, text(k), verdictText(v), key, keep,
			verdictText(again))
	}
	if covers, err := odp.MaskCovers(mask, again.Mask.Bytes()); err != nil || !covers {
		t.Fatalf("%s\n%s: the dumped mask %x does not cover the mask %x: %v", what, text(k), mask, again.Mask.Bytes(), err)
	}
}
