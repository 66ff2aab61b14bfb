package forward

import (
	"fmt"
	"sync/atomic"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// Values of Verdict.Reason beyond those written where they are decided.
const (
	reasonMalformedKey = "malformed_key"
	reasonInPortGone   = "in_port_gone"
)

// Config configures Learning. Zero values select the defaults, which are Open
// vSwitch's.
type Config struct {
	// MACAging is how long a MAC is known after it was last seen: 1 s to
	// 24 h, 300 s if zero.
	MACAging time.Duration
	// MACLimit is how many MACs are known at most: 1 to 1,000,000, 8192 if
	// zero. Their memory, about 100 bytes each, is allocated at once.
	MACLimit int
}

const (
	defaultMACAging = 300 * time.Second
	minMACAging     = time.Second
	maxMACAging     = 24 * time.Hour
	defaultMACLimit = 8192
	maxMACLimit     = 1_000_000
)

// Learning is the policy of a learning switch: it learns which MAC is behind
// which port from the packets' sources, sends to known destinations out of
// their port and to others out of all ports but the in-port. A MAC is forgotten
// by the first Expire after MACAging.
type Learning struct {
	ports
	table   *table
	agingMS int64
	// expiredMS is the time before which the last Expire forgot. Sightings
	// older than that are not learned again.
	expiredMS atomic.Int64
}

var _ dpif.Policy = (*Learning)(nil)

// NewLearning returns a policy that knows no ports and no MACs, or an error
// that names the field that is out of range.
func NewLearning(cfg Config) (*Learning, error) {
	if cfg.MACAging == 0 {
		cfg.MACAging = defaultMACAging
	}
	if cfg.MACLimit == 0 {
		cfg.MACLimit = defaultMACLimit
	}
	if cfg.MACAging < minMACAging || cfg.MACAging > maxMACAging {
		return nil, fmt.Errorf("learning policy: MACAging %v is not within %v and %v", cfg.MACAging, minMACAging, maxMACAging)
	}
	if cfg.MACLimit < 1 || cfg.MACLimit > maxMACLimit {
		return nil, fmt.Errorf("learning policy: MACLimit %d is not within 1 and %d", cfg.MACLimit, maxMACLimit)
	}
	return &Learning{table: newTable(cfg.MACLimit), agingMS: cfg.MACAging.Milliseconds()}, nil
}

// Decide implements dpif.Policy. A packet from a port that is not in the set is
// forwarded, but neither learned from nor given a flow: the port is about to
// come or has just gone. A packet without in-port or Ethernet addresses is
// dropped without a flow.
func (l *Learning) Decide(u *dpif.Upcall, nowMS int64, v *dpif.Verdict) {
	var k odp.Key
	if odp.ParseKey(u.Key, &k) != nil {
		v.Reason = reasonMalformedKey
		return
	}
	set := l.load()
	v.Install = set.has(k.InPort)
	switch {
	case v.Explain != nil:
		l.explainSource(&k, set, v)
	case teaches(&k):
		l.learn(&k, nowMS, true)
	}
	l.forward(&k, set, v)
}

// Redecide implements dpif.Policy. A flow goes
//
//   - when its source is known behind another port: its packets have to come
//     up to move the MAC back;
//   - when its source is unknown, since packets that stay in the kernel teach
//     nothing, and what is sent to the source would flood as long as the flow
//     lives. A flow in use is not lost by that: it was observed just before,
//     so its source is unknown only if the table is full of newer ones;
//   - when its in-port has gone, or its key is not one of a packet that Decide
//     forwards.
func (l *Learning) Redecide(key []byte, v *dpif.Verdict) bool {
	var k odp.Key
	if odp.ParseKey(key, &k) != nil {
		v.Reason = reasonMalformedKey
		return false
	}
	set := l.load()
	if !set.has(k.InPort) {
		v.Reason = reasonInPortGone
		return false
	}
	if teaches(&k) {
		switch port, ok := l.table.lookup(macKey(0, k.EthSrc)); {
		case !ok:
			v.Reason = "source_unknown"
			return false
		case port != k.InPort:
			v.Reason = "source_moved"
			return false
		}
	}
	v.Install = true
	l.forward(&k, set, v)
	return true
}

// forward decides by what is known. Both halves of the mask:
//
//	source       bits read
//	multicast    the group bit: any such source is not learned
//	other        all: another source has to come up to be learned
//	any, if the destination is reserved: none, nothing was learned
//
//	destination  bits read
//	unicast      all: they were looked up
//	multicast    see destinationMask
func (l *Learning) forward(k *odp.Key, set *portSet, v *dpif.Verdict) {
	var src odp.MAC
	switch {
	case isReserved(k.EthDst):
		v.Reason = "reserved_multicast"
	case k.EthDst.IsMulticast():
		src = sourceMask(k.EthSrc)
		set.appendFlood(&v.Actions, k.InPort)
		v.Reason = "multicast"
	default:
		src = sourceMask(k.EthSrc)
		port, ok := l.behind(k, v)
		switch {
		case !ok || !set.has(port): // the set may be newer than the entry
			set.appendFlood(&v.Actions, k.InPort)
			v.Reason = "unknown_unicast"
		case port == k.InPort:
			v.Reason = "same_port"
		default:
			odp.AppendOutput(&v.Actions, port)
			v.Reason = "learned_unicast"
		}
	}
	if v.Explain != nil {
		explainDestination(k, set, v)
	}
	odp.AppendInPortMask(&v.Mask)
	odp.AppendEthernet(&v.Mask, src, destinationMask(k.EthDst))
}

// behind returns the port that the destination is known on.
func (l *Learning) behind(k *odp.Key, v *dpif.Verdict) (odp.PortNo, bool) {
	if v.Explain != nil {
		return l.wouldFind(k, v)
	}
	return l.table.await(macKey(0, k.EthDst))
}

// learn hands a sighting to the table, which takes none on a port that it does
// not know.
func (l *Learning) learn(k *odp.Key, seenMS int64, atHand bool) {
	if l.table.learn(macKey(0, k.EthSrc), k.InPort, seenMS, atHand) {
		l.generation.Add(1)
	}
}

// Observe implements dpif.Policy. Of two sightings on different ports the newer
// wins, and of two as new the one that is known. A usedMS of 0 or less means
// "never used" and teaches nothing; nor does one that the last Expire would
// have forgotten.
func (l *Learning) Observe(key []byte, usedMS int64) {
	var k odp.Key
	if usedMS <= 0 || usedMS < l.expiredMS.Load() || odp.ParseKey(key, &k) != nil {
		return
	}
	if teaches(&k) {
		l.learn(&k, usedMS, false)
	}
}

// Restore learns the entries of another table's Snapshot, as far as their ports
// are in the set and nothing newer is known.
func (l *Learning) Restore(entries []MACEntry) {
	for _, e := range entries {
		if l.table.learn(macKey(e.VLAN, e.MAC), e.Port, e.SeenMS, false) {
			l.generation.Add(1)
		}
	}
}

// Expiring implements dpif.Policy.
func (l *Learning) Expiring(nowMS int64) bool { return l.table.anyOlder(nowMS - l.agingMS) }

// Expire implements dpif.Policy.
func (l *Learning) Expire(nowMS int64) {
	before := nowMS - l.agingMS
	l.expiredMS.Store(before)
	if l.table.expire(before) {
		l.generation.Add(1)
	}
}

// SetPorts implements dpif.Policy. MACs behind ports that are not in the set
// are forgotten.
func (l *Learning) SetPorts(ports []dpif.Port) {
	set := newPortSet(ports)
	l.table.setPorts(set)
	if l.store(set) {
		l.generation.Add(1)
	}
}
