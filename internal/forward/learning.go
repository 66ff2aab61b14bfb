package forward

import (
	"fmt"
	"sync/atomic"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/snoop"
)

// Values of Verdict.Reason used in several places.
const (
	reasonMalformedKey = "malformed_key"
	reasonInPortGone   = "in_port_gone"
)

// Config configures Learning. Zero values select the defaults, which are Open
// vSwitch's.
type Config struct {
	// MACAging is the time after which a MAC that is not seen is removed: 1 s to 24 h, 300 s if
	// zero.
	MACAging time.Duration
	// MACLimit is the maximum number of MACs: 1 to 1,000,000, 8192 if zero. Their memory, about
	// 100 bytes each, is allocated at once.
	MACLimit int
	// SharedLearning makes all VLANs share one MAC table: a MAC has one port in all VLANs.
	// Otherwise each VLAN learns separately.
	SharedLearning bool
	// ForwardBPDU forwards packets to reserved destinations, such as those of spanning tree.
	ForwardBPDU bool
	// Multicast configures the forwarding to IP multicast groups.
	Multicast MulticastConfig
	// StaticMACs are known from the start, and neither move nor age.
	StaticMACs []StaticMAC
	// Stages is the number of stages of flows.
	Stages Stages
	// Ports are the settings of ports.
	Ports PortConfigs
	// Patterns are settings of ports that Ports does not name.
	Patterns []PortPattern
	// Flapping, if not nil, is called when TakeFlapping has something to return. It is
	// called by any goroutine, with a lock held, and must not block.
	Flapping func()
}

const (
	defaultMACAging = 300 * time.Second
	minMACAging     = time.Second
	maxMACAging     = 24 * time.Hour
	defaultMACLimit = 8192
	maxMACLimit     = 1_000_000
)

// Learning is the policy of a learning switch: it learns the port of each MAC from the packets'
// sources, sends packets to known destinations to their port, and floods others to all ports
// except the in-port. The first Expire after MACAging removes a MAC.
type Learning struct {
	ports
	table   *table
	statics []StaticMAC
	meters  meterTable
	metered atomic.Bool // the meters are in the datapath
	// shared is one table for all VLANs; forwardBPDU is as in Config.
	shared, forwardBPDU bool
	agingMS             int64
	groups              *snoop.Table // nil unless snooping is on
	floodUnregistered   bool         // as in MulticastConfig
	// relearn counts packets to a removed MAC while flows from it may be installed. When these
	// flows are re-decided they are deleted, and the MAC is learned again. Expiring records the
	// count up to which the check of all flows before Expire is sufficient.
	relearn         atomic.Uint64
	asked, answered uint64
	// expiredMS is the time limit of the last Expire. Older sightings are not learned again.
	expiredMS atomic.Int64
	stages    stages
}

var (
	_ policy.MeterPolicy  = (*Learning)(nil)
	_ policy.StagedPolicy = (*Learning)(nil)
	_ MACTable            = (*Learning)(nil)
	_                     = register("learning", NewLearning)
)

// NewLearning returns a policy that knows no ports and no MACs. An error names the field that is
// out of range.
func NewLearning(cfg Config) (*Learning, error) {
	if cfg.MACAging == 0 {
		cfg.MACAging = defaultMACAging
	}
	if cfg.MACLimit == 0 {
		cfg.MACLimit = defaultMACLimit
	}
	if cfg.MACAging < minMACAging || cfg.MACAging > maxMACAging {
		return nil, fmt.Errorf("MACAging %v is not within %v and %v", cfg.MACAging, minMACAging, maxMACAging)
	}
	if cfg.MACLimit < 1 || cfg.MACLimit > maxMACLimit {
		return nil, fmt.Errorf("MACLimit %d is not within 1 and %d", cfg.MACLimit, maxMACLimit)
	}
	if err := cfg.Ports.check(cfg.Patterns...); err != nil {
		return nil, err
	}
	if err := checkStaticMACs(cfg.StaticMACs, cfg.SharedLearning); err != nil {
		return nil, err
	}
	l := &Learning{
		ports: ports{config: cfg.Ports, patterns: cfg.Patterns}, table: newTable(cfg.MACLimit), statics: cfg.StaticMACs,
		shared: cfg.SharedLearning, forwardBPDU: cfg.ForwardBPDU, agingMS: cfg.MACAging.Milliseconds(),
		floodUnregistered: cfg.Multicast.FloodUnregistered,
	}
	if cfg.Multicast.Snooping {
		if cfg.Multicast.GroupLimit < 1 {
			return nil, fmt.Errorf("GroupLimit %d is less than 1", cfg.Multicast.GroupLimit)
		}
		l.groups = snoop.NewTable(cfg.Multicast.GroupLimit)
	}
	l.meters.assign(cfg.Ports)
	l.table.flaps.found = cfg.Flapping
	l.stages.start(cfg.Stages)
	return l, nil
}

// macKey is the table key of a MAC in a VLAN.
func (l *Learning) macKey(vlan uint16, mac odp.MAC) uint64 {
	if l.shared {
		vlan = 0
	}
	return macKey(vlan, mac)
}

// Decide implements policy.Policy. A packet from a port that is not in the set, which was just
// added or removed, is not learned from and gets no flow. It is forwarded if no port has
// settings, and dropped otherwise. A packet without in-port or Ethernet addresses is dropped
// without a flow. A packet with a truncated VLAN tag is decided as untagged, without a flow.
func (l *Learning) Decide(u *dpif.Upcall, nowMS int64, v *policy.Verdict) {
	var k odp.Key
	if k.Parse(u.Fields()) != nil {
		v.Reason = reasonMalformedKey
		return
	}
	var f frame
	set := l.load()
	refused := set.admit(u.Key, &k, &f)
	stage, holds := l.stage(&k, &f, refused)
	v.Stage, v.Install = stage, f.installs(refused) && holds
	switch {
	case v.Explain != nil:
		l.explainSource(&k, set, &f, refused, v)
	case refused == "" && stage != policy.SecondStage && l.learnsFrom(&k, set, f.vlan):
		v.Renew = l.learn(&k, f.vlan, nowMS, true) && stage == policy.FirstStage
	}
	if l.snoop(u.Key, &k, &f, refused); f.class == snoop.Control {
		l.message(u, set, &f, nowMS, v)
		return
	}
	l.forward(u.Key, &k, set, &f, refused, v)
	v.Install = f.readMore(u.Key, v) && v.Install
}

// Redecide implements policy.Policy. A flow is deleted
//
//   - if its source is known on another port: its packets must be upcalls to move the MAC
//     back;
//   - if its source is unknown: packets in the kernel are not learned from, so packets to the
//     source would be flooded as long as the flow lives. A flow in use is not deleted for this
//     reason: it was observed just before, so its source is unknown only if the table is full
//     of newer MACs;
//   - if its in-port was removed, or Decide gives no flow to packets with its key.
func (l *Learning) Redecide(key []byte, v *policy.Verdict) bool {
	var k odp.Key
	if odp.ParseKey(key, &k) != nil {
		v.Reason = reasonMalformedKey
		return false
	}
	var f frame
	set := l.load()
	refused := set.admit(key, &k, &f)
	stage, holds := l.stage(&k, &f, refused)
	v.Stage = stage
	switch {
	case f.in == nil && refused != reasonNoTunnel:
		v.Reason = reasonInPortGone
		return false
	case !f.installs(refused):
		v.Reason = "partial_vlan_tag"
		return false
	case !holds:
		v.Reason = "one_stage"
		return false
	case refused == "" && stage != policy.SecondStage && l.learnsFrom(&k, set, f.vlan):
		switch port, ok := l.table.lookup(l.macKey(f.vlan, k.EthSrc)); {
		case !ok:
			v.Reason = "source_unknown"
			return false
		case port != k.InPort:
			v.Reason = "source_moved"
			return false
		}
	}
	if stage == policy.FirstStage {
		v.Reason = "first_stage"
		appendSourceMask(&v.Mask, &k, &f)
		odp.AppendRecirc(&v.Actions, policy.RecircID)
		v.Install = true
		return true
	}
	if l.snoop(key, &k, &f, refused); f.class == snoop.Control {
		v.Reason = reasonMessage
		return false
	}
	l.forward(key, &k, set, &f, refused, v)
	v.Install = f.readMore(key, v)
	return v.Install
}

// forward decides from the current tables. The decision on a refused frame reads the in-port
// and the tag, which the kernel always matches. The two halves of the mask of other frames:
//
//	source       bits read
//	multicast    the group bit: any such source is not learned
//	other        all: another source must cause an upcall to be learned
//	any, if the destination is reserved: none, nothing was learned
//
//	destination  bits read
//	unicast      all: they were looked up
//	multicast    see destinationMask
func (l *Learning) forward(key []byte, k *odp.Key, set *portSet, f *frame, refused string, v *policy.Verdict) {
	isL2 := refused == "" && v.Stage == policy.OneStage && !f.tunneled && !set.inherits
	if !isL2 {
		set.appendMask(&v.Mask, key, f, refused)
	}
	f.received(&v.Actions)
	if refused != "" {
		v.Reason, v.Refused = refused, true
		return
	}
	var src odp.MAC
	switch {
	case l.reserves(k.EthDst):
		v.Reason = "reserved_multicast"
	case k.EthDst.IsMulticast():
		src = sourceMask(k.EthSrc)
		l.limit(&v.Actions, f, stormKind(k.EthDst))
		if f.class == snoop.ToGroup {
			l.toGroup(set, f, v)
			break
		}
		set.flood(&v.Actions, f)
		v.Reason = "multicast"
	default:
		src = sourceMask(k.EthSrc)
		switch out := l.behind(k, set, f, v); {
		case out == nil:
			l.limit(&v.Actions, f, policy.StormUnknownUnicast)
			set.flood(&v.Actions, f)
			v.Reason = "unknown_unicast"
		case f.in != nil && !f.in.reaches(out):
			v.Reason = "isolated"
			if f.in == out {
				v.Reason = "same_port"
			}
		default:
			set.output(&v.Actions, f, out)
			v.Peer, v.HasPeer = out.no, f.unchanged(out)
			v.Reason = "learned_unicast"
		}
	}
	if v.Explain != nil {
		explainDestination(k, set, f, v)
	}
	dst := l.destinationMask(k.EthDst)
	switch {
	case isL2:
		odp.AppendL2Mask(&v.Mask, src, dst)
	case v.Stage == policy.OneStage:
		odp.AppendEthernet(&v.Mask, src, dst)
	default:
		l.forwardStaged(k, f, dst, v)
	}
}

// behind returns the port of the destination, nil if none is known that carries the VLAN. The
// set may be newer than the table.
func (l *Learning) behind(k *odp.Key, set *portSet, f *frame, v *policy.Verdict) *port {
	key := l.macKey(f.vlan, k.EthDst)
	if out, fixed := set.fixed[key]; fixed {
		if v.Explain != nil {
			v.Explain("mac_lookup", k.EthDst.String()+" is a static MAC")
		}
		if out != nil && out.carries(f.vlan) {
			return out
		}
		return nil
	}
	var no odp.PortNo
	var ok bool
	if v.Explain != nil {
		no, ok = l.wouldFind(k, f, v)
	} else {
		var silent bool
		if no, ok, silent = l.table.await(key); silent {
			l.relearn.Add(1)
		}
	}
	if !ok {
		return nil
	}
	if out := set.find(no); out != nil && out.carries(f.vlan) {
		return out
	}
	return nil
}

// learn passes a sighting to the table, which ignores unknown ports. Like table.learn it reports whether former
// decisions may have changed.
func (l *Learning) learn(k *odp.Key, vlan uint16, seenMS int64, atHand bool) bool {
	if !l.table.learn(l.macKey(vlan, k.EthSrc), k.InPort, seenMS, atHand) {
		return false
	}
	l.generation.Add(1)
	return true
}

// Observe implements policy.Policy. Of two sightings on different ports the newer wins; if they
// have the same time, the known one. A usedMS of 0 or less means "never used" and is ignored,
// as is a sighting that the last Expire would have removed, or one from before the port had its
// number.
func (l *Learning) Observe(key []byte, usedMS int64) {
	var k odp.Key
	if usedMS <= 0 || usedMS < l.expiredMS.Load() || odp.ParseKey(key, &k) != nil {
		return
	}
	var f frame
	set := l.load()
	if set.admit(key, &k, &f) != "" || f.in == nil || usedMS < f.in.sinceMS {
		return
	}
	switch {
	case k.RecircID == policy.RecircID:
		l.stages.found(l.stageVLAN(f.vlan))
	case l.learnsFrom(&k, set, f.vlan):
		l.learn(&k, f.vlan, usedMS, false)
	}
}

// Restore learns the entries of another table's Snapshot whose ports are in the set and carry
// the VLAN, unless something newer is known.
func (l *Learning) Restore(entries []MACEntry) {
	set := l.load()
	for _, e := range entries {
		if p := set.find(e.Port); p == nil || !p.carries(e.VLAN) {
			continue
		}
		key := l.macKey(e.VLAN, e.MAC)
		if _, fixed := set.fixed[key]; fixed {
			continue
		}
		if l.table.learn(key, e.Port, e.SeenMS, false) {
			l.generation.Add(1)
		}
	}
}

// Expiring implements policy.Policy. All flows are also checked when relearn has increased;
// like aging, this is not urgent.
func (l *Learning) Expiring(nowMS int64) bool {
	// Members of groups depend on reports only, so they may expire without a dump of flows.
	if l.groups != nil && l.groups.Expire(nowMS) {
		l.generation.Add(1)
	}
	l.asked = l.relearn.Load()
	return l.asked != l.answered || l.table.anyOlder(nowMS-l.agingMS)
}

// Expire implements policy.Policy.
func (l *Learning) Expire(nowMS int64) {
	l.answered = l.asked
	before := nowMS - l.agingMS
	l.expiredMS.Store(before)
	if l.table.expire(before) {
		l.generation.Add(1)
	}
}

// SetPorts implements policy.Policy. It removes the MACs of ports that are not in the set.
func (l *Learning) SetPorts(ports []policy.Port) {
	cfg := l.config.with(l.patterns, ports)
	set := newPortSet(ports, cfg, l.meters.assign(cfg))
	l.fix(set)
	l.table.setPorts(set)
	if l.groups != nil && l.groups.Retain(set.has) {
		l.generation.Add(1)
	}
	if l.store(set) {
		l.generation.Add(1)
	}
}
