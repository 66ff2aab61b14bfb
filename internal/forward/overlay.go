package forward

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// StaticFlow is a flow of the configuration, in ODP text with the names of
// ports.
type StaticFlow struct {
	Match   string `yaml:"match"`
	Actions string `yaml:"actions"`
}

// Overlay puts static flows over a policy: a static flow decides the packets that it matches,
// and all other flows are narrowed so that they do not overlap it, because the kernel's table
// has no priorities. It is a policy.StaticPolicy.
type Overlay struct {
	policy.Policy
	flows      []StaticFlow
	perPort    bool // see PerPort
	generation atomic.Uint64
	rules      atomic.Pointer[ruleSet]

	mu   sync.Mutex // orders SetPorts
	made bool
}

var _ policy.StaticPolicy = (*Overlay)(nil)

// ruleSet holds the static flows for one set of ports. It is immutable.
type ruleSet struct {
	rules  []rule
	byPort map[odp.PortNo][]*rule // rules of ports that a flow names
	other  []*rule                // rules of all other ports
	flows  []policy.StaticFlow
	absent []absentRule
	names  []string // names of the existing ports, by number
}

type rule struct {
	key, mask odp.Packed
	actions   []byte
	text      string
}

// absentRule is a static flow that waits for a port other than those it matches.
type absentRule struct {
	rule
	missing string
}

// explainAbsent explains which static flows would match the packet if they were installed.
func (o *Overlay) explainAbsent(key []byte, v *policy.Verdict) {
	var k odp.Packed
	if k.Pack(key) != nil {
		return
	}
	for _, r := range o.rules.Load().absent {
		if k.Matches(&r.key, &r.mask) {
			v.Explain(reasonStatic, fmt.Sprintf(
				"the static flow %s would match, but is not installed: there is no port %s", r.text, r.missing))
		}
	}
}

// NewOverlay returns inner with static flows over it. Static flows take effect with SetPorts.
// The error names the wrong flow; see CheckStatic.
func NewOverlay(inner policy.Policy, flows []StaticFlow) (*Overlay, error) {
	if _, err := CheckStatic(flows); err != nil {
		return nil, err
	}
	if l, ok := inner.(*Learning); ok {
		l.stages.start(StagesOne) // narrow does not support flows in two stages
	}
	o := &Overlay{Policy: inner, flows: slices.Clone(flows)}
	o.rules.Store(&ruleSet{})
	return o, nil
}

// PerPort makes StaticFlows include the in-port in each flow: a flow without it is installed once
// for each port of the set, and so does not match packets of a vport outside the set. Call it
// before SetPorts.
func (o *Overlay) PerPort() { o.perPort = true }

// NamesInPort reports whether a static flow matches packets from that port only.
func (o *Overlay) NamesInPort(in odp.PortNo) bool {
	_, named := o.rules.Load().byPort[in]
	return named
}

const reasonStatic = "static_flow"

// StaticHit starts the text for Explain about the static flow of a packet; the match follows.
const StaticHit = "the packet belongs to the static flow "

// match packs the key of a packet from port in, and returns the static flow that matches it,
// nil if there is none, and all static flows that may match packets of the port.
func (o *Overlay) match(in odp.PortNo, key []byte, k *odp.Packed) (hit *rule, all []*rule, err error) {
	set := o.rules.Load()
	all, named := set.byPort[in]
	if !named {
		all = set.other
	}
	if len(all) == 0 {
		return nil, nil, nil
	}
	if err := k.Pack(key); err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		if k.Matches(&r.key, &r.mask) {
			return r, all, nil
		}
	}
	return nil, all, nil
}

// Decide implements policy.Policy. A packet of a static flow is sent with its actions and
// requests no flow: the caller of StaticFlows installs the static flow.
func (o *Overlay) Decide(u *dpif.Upcall, nowMS int64, v *policy.Verdict) {
	var k odp.Packed
	hit, all, err := o.match(u.InPort, u.Key, &k)
	switch {
	case err != nil:
		v.Reason = reasonMalformedKey
		return
	case hit != nil:
		v.Reason = reasonStatic
		v.Actions.Raw(hit.actions...)
		if v.Explain != nil {
			v.Explain(reasonStatic, StaticHit+hit.text)
		}
		return
	}
	if v.Explain != nil {
		o.explainAbsent(u.Key, v)
	}
	o.Policy.Decide(u, nowMS, v)
	if v.Install && len(all) > 0 {
		v.Install = narrow(v, &k, all)
		if v.Explain != nil {
			v.Explain(reasonStatic, fmt.Sprintf("no static flow matches; the mask excludes %d of them", len(all)))
		}
	}
}

// Redecide implements policy.Policy.
func (o *Overlay) Redecide(key []byte, v *policy.Verdict) bool {
	var k odp.Packed
	in, _ := odp.InPort(key) // a key without one is rejected below
	hit, all, err := o.match(in, key, &k)
	switch {
	case err != nil:
		v.Reason = reasonMalformedKey
		return false
	case hit != nil:
		v.Reason = reasonStatic
		return false
	}
	if !o.Policy.Redecide(key, v) {
		return false
	}
	if len(all) > 0 && v.Install && !narrow(v, &k, all) {
		v.Reason = "beside_static_flow"
		return false
	}
	return true
}

// narrow narrows v's mask until its flow overlaps no static flow. It reports whether that is
// possible.
func narrow(v *policy.Verdict, k *odp.Packed, all []*rule) bool {
	var m packedMask
	if !m.take(v) {
		return false
	}
	for _, r := range all {
		m.Narrow(k, &r.key, &r.mask)
	}
	m.put(v, k)
	return true
}

// packedMask is a verdict's mask to which bits are added.
type packedMask struct {
	odp.Packed
	tunnel    [maxTunnelMask]byte // not part of Packed
	tunnelLen int
}

// take sets m to v's mask. It returns false if the mask cannot be determined.
func (m *packedMask) take(v *policy.Verdict) bool {
	other, err := m.PackMask(v.Mask.Bytes())
	if err == nil && other == odp.KeyAttrTunnel {
		m.tunnelLen = copyTunnel(m.tunnel[:], v.Mask.Bytes())
	}
	return err == nil && (other == 0 || m.tunnelLen > 0)
}

// put makes m, for packets of the key k, v's mask.
func (m *packedMask) put(v *policy.Verdict, k *odp.Packed) {
	v.Mask.Clear()
	m.AppendMask(&v.Mask, k)
	if m.tunnelLen > 0 {
		v.Mask.Attr(odp.KeyAttrTunnel, m.tunnel[:m.tunnelLen])
	}
}

// maxTunnelMask is the maximum size of the tunnel fields that a policy reads.
const maxTunnelMask = 128

// copyTunnel copies the tunnel attribute of a mask, which static flows do not read, and returns
// its length, 0 if it is too long.
func copyTunnel(to, mask []byte) int {
	it := netlink.NewAttrs(mask)
	for it.Next() {
		if it.Type() == odp.KeyAttrTunnel && len(it.Data()) <= len(to) {
			return copy(to, it.Data())
		}
	}
	return 0
}

// Observe implements policy.Policy. Nothing is learned from static flows.
func (o *Overlay) Observe(key []byte, usedMS int64) {
	var k odp.Packed
	in, _ := odp.InPort(key)
	if hit, _, err := o.match(in, key, &k); hit == nil && err == nil {
		o.Policy.Observe(key, usedMS)
	}
}

// Generation implements policy.Policy.
func (o *Overlay) Generation() uint64 { return o.generation.Load() + o.Policy.Generation() }

// StaticFlows implements policy.StaticPolicy.
func (o *Overlay) StaticFlows() []policy.StaticFlow { return o.rules.Load().flows }

// SetPorts implements policy.Policy. Static flows that name a port which is not in
// the set wait for it.
func (o *Overlay) SetPorts(ports []policy.Port) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if set := newRuleSet(o.flows, ports, o.perPort); !o.made || !slices.Equal(set.names, o.rules.Load().names) {
		o.rules.Store(set)
		o.made = true
		o.generation.Add(1)
	}
	o.Policy.SetPorts(ports)
}

func newRuleSet(flows []StaticFlow, ports []policy.Port, perPort bool) *ruleSet {
	set := &ruleSet{byPort: map[odp.PortNo][]*rule{}}
	numbers := map[string]odp.PortNo{}
	for _, p := range ports {
		numbers[p.Name] = p.No
		set.names = append(set.names, p.No.String()+" "+p.Name)
	}
	slices.Sort(set.names)
	all, missing := make([]*compiled, len(flows)), make([]string, len(flows))
	waiting := make([]*compiled, len(flows))
	for i, f := range flows {
		c, err := compile(f, func(name string) (odp.PortNo, bool) {
			no, ok := numbers[name]
			if !ok && missing[i] == "" {
				missing[i] = name
			}
			return no, true
		})
		switch {
		case err != nil: // checked before; names cannot make it wrong
		case missing[i] != "":
			waiting[i] = c
		default:
			all[i] = c
		}
	}
	set.rules = make([]rule, 0, len(flows)) // byPort points into it
	for i, f := range flows {
		add := func(c *compiled, id dpif.UFID) {
			set.flows = append(set.flows, policy.StaticFlow{
				Match: f.Match, Actions: f.Actions, Missing: missing[i],
				UFID: id, Key: c.keyAttrs, Mask: c.maskAttrs, Do: c.actions,
			})
		}
		c := all[i]
		switch {
		case waiting[i] != nil:
			c := waiting[i]
			add(c, staticUFID([]byte("waiting"), []byte(f.Match), []byte{0}, []byte(f.Actions)))
			if matchesPorts(f, numbers) {
				set.absent = append(set.absent, absentRule{rule{c.key, c.mask, c.actions, f.Match}, missing[i]})
			}
			continue
		case c == nil || isCovered(all, i):
			continue
		}
		set.rules = append(set.rules, rule{c.key, c.mask, c.actions, f.Match})
		parts := []*compiled{c}
		if perPort {
			parts = c.perPort(ports, all)
		}
		for _, c := range parts {
			add(c, staticUFID([]byte("static"), c.key[:], c.mask[:]))
		}
	}
	for i := range set.rules {
		r := &set.rules[i]
		if in, ok := r.inPort(); !ok {
			set.other = append(set.other, r)
		} else if set.byPort[in] == nil {
			set.byPort[in] = []*rule{}
		}
	}
	for in := range set.byPort {
		for i := range set.rules {
			r := &set.rules[i]
			if no, ok := r.inPort(); !ok || no == in {
				set.byPort[in] = append(set.byPort[in], r)
			}
		}
	}
	return set
}

// matchesPorts reports whether the ports that a flow matches exist.
func matchesPorts(f StaticFlow, numbers map[string]odp.PortNo) bool {
	_, err := compile(StaticFlow{Match: f.Match, Actions: "drop"}, func(name string) (odp.PortNo, bool) {
		no, ok := numbers[name]
		return no, ok
	})
	return err == nil
}

// staticUFID derives a flow's UFID from its match, so that it is the same after a restart.
func staticUFID(parts ...[]byte) dpif.UFID {
	sum := sha256.Sum256(slices.Concat(parts...))
	return dpif.UFID(sum[:16])
}
