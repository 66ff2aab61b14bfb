package loopguard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// EtherType is the EtherType of probes.
const EtherType = 0x88b5

// Destination is the destination of probes: every switch floods it.
var Destination = odp.MAC{0x03, 'd', 'p', 'i', 'f', 'd'}

const (
	addrsLen   = 12 // bytes of both addresses in a frame
	tagLen     = 4
	maxTags    = 2 // maximum tags of a returned probe: a provider's and its own
	payloadLen = 44
	signedLen  = 28 // of the payload
	hashLen    = payloadLen - signedLen
	probeLen   = 60 // without tag
	version    = 1
	magic      = "dpLG"

	// freshRounds is the number of rounds after which a probe no longer shows a loop.
	freshRounds = 4
	// sightings is the number of different sightings that can wait for Take; more are dropped.
	sightings = 64
)

// Guard recognizes the probes of one process.
type Guard struct {
	src    odp.MAC
	id     [8]byte
	secret [32]byte
	round  atomic.Uint64
	seen   [sightings]atomic.Uint64 // packed Sightings; 0 for a free slot
	wake   chan struct{}
}

// Sighting is a probe that came back.
type Sighting struct {
	From, In odp.PortNo // ports by which it was sent and received
	VLAN     uint16     // VLAN in which it was sent, 0 without tag
}

// New returns a Guard with a random id, address and secret.
func New() *Guard {
	g := &Guard{wake: make(chan struct{}, 1)}
	_, _ = rand.Read(g.src[:]) // never fails since Go 1.24
	_, _ = rand.Read(g.id[:])
	_, _ = rand.Read(g.secret[:])
	g.src[0] = g.src[0]&^1 | 2 // unicast, of local scope
	return g
}

// NextRound begins a round of probes. Probes of rounds long ago show no loop.
func (g *Guard) NextRound() { g.round.Add(1) }

// Probe returns the probe of this round for a port and VLAN. The caller owns it.
func (g *Guard) Probe(port odp.PortNo, vlan uint16) []byte {
	f := make([]byte, 0, probeLen+tagLen)
	f = append(f, Destination[:]...)
	f = append(f, g.src[:]...)
	if vlan != 0 {
		f = binary.BigEndian.AppendUint16(f, 0x8100)
		f = binary.BigEndian.AppendUint16(f, vlan)
	}
	f = binary.BigEndian.AppendUint16(f, EtherType)
	at := len(f)
	f = append(f, magic...)
	f = append(f, version, 0)
	f = binary.BigEndian.AppendUint16(f, vlan)
	f = append(f, g.id[:]...)
	f = binary.BigEndian.AppendUint32(f, uint32(port))
	f = binary.BigEndian.AppendUint64(f, g.round.Load())
	hash := g.hash((*[signedLen]byte)(f[at:]))
	f = append(f, hash[:]...)
	return append(f, 0, 0)
}

func (g *Guard) hash(signed *[signedLen]byte) (hash [hashLen]byte) {
	var b [len(g.secret) + signedLen]byte
	copy(b[:], g.secret[:])
	copy(b[len(g.secret):], signed[:])
	sum := sha256.Sum256(b[:])
	copy(hash[:], sum[:])
	return hash
}

// own returns the content of a packet if it is a probe of this process, from any round.
func (g *Guard) own(packet []byte) (s Sighting, round uint64, ok bool) {
	if len(packet) < probeLen || odp.MAC(packet[:6]) != Destination || odp.MAC(packet[6:]) != g.src {
		return s, 0, false
	}
	b := packet[addrsLen:]
	for range maxTags {
		if t := binary.BigEndian.Uint16(b); (t == 0x8100 || t == 0x88a8) && len(b) >= tagLen+2+payloadLen {
			b = b[tagLen:]
		}
	}
	if binary.BigEndian.Uint16(b) != EtherType || len(b) < 2+payloadLen {
		return s, 0, false
	}
	b = b[2 : 2+payloadLen]
	hash := g.hash((*[signedLen]byte)(b))
	if string(b[:len(magic)]) != magic || b[4] != version || subtle.ConstantTimeCompare(hash[:], b[signedLen:]) == 0 {
		return s, 0, false
	}
	s.VLAN, s.From = binary.BigEndian.Uint16(b[6:]), odp.PortNo(binary.BigEndian.Uint32(b[16:]))
	return s, binary.BigEndian.Uint64(b[20:]), true
}

// Decide reports whether the packet of an upcall is a probe of this process. Then it is
// dropped without a flow, and Take returns it.
func (g *Guard) Decide(u *dpif.Upcall, v *policy.Verdict) bool {
	s, round, ok := g.own(u.Packet)
	if !ok {
		return false
	}
	v.Reason = "loop_probe"
	if s.In = u.InPort; v.Explain == nil && g.round.Load()-round < freshRounds {
		g.note(s)
	}
	return true
}

// note stores a sighting for Take.
func (g *Guard) note(s Sighting) {
	packed := 1<<63 | uint64(s.VLAN)<<32 | uint64(s.From&0xffff)<<16 | uint64(s.In&0xffff)
	for i := range g.seen {
		was := g.seen[i].Load()
		if was == packed || was == 0 && g.seen[i].CompareAndSwap(0, packed) {
			break
		}
	}
	g.Wake()
}

// Wake makes Woken receive.
func (g *Guard) Wake() {
	select {
	case g.wake <- struct{}{}:
	default: // a wake-up is pending
	}
}

// Woken receives when there are sightings for Take, or Wake was called.
func (g *Guard) Woken() <-chan struct{} { return g.wake }

// Take calls fn with each probe that came back since the last call; equal ones once.
func (g *Guard) Take(fn func(Sighting)) {
	for i := range g.seen {
		if p := g.seen[i].Swap(0); p != 0 {
			fn(Sighting{VLAN: uint16(p >> 32), From: odp.PortNo(p >> 16 & 0xffff), In: odp.PortNo(p & 0xffff)})
		}
	}
}

// IsSource reports whether a packet whose key has the addresses eth has the source of
// probes.
func (g *Guard) IsSource(eth []byte) bool {
	return len(eth) == addrsLen && odp.MAC(eth) == g.src
}

// Narrow makes the mask of v so narrow that its flow matches no probe. The key of the packet
// has the addresses eth (struct ovs_key_ethernet: source, destination). Narrow returns false if
// the packet has the addresses of a probe but is not one: then no flow may be installed.
//
// It adds bytes in a fixed order up to the first in which the packet differs, so that flows
// that did not overlap before do not overlap afterwards.
func (g *Guard) Narrow(eth []byte, v *policy.Verdict) bool {
	if len(eth) != addrsLen {
		return false
	}
	mask := netlink.FindAttr(v.Mask.Bytes(), odp.KeyAttrEthernet)
	if mask == nil {
		odp.AppendEthernet(&v.Mask, odp.MAC{}, odp.MAC{})
		mask = netlink.FindAttr(v.Mask.Bytes(), odp.KeyAttrEthernet)
	}
	if len(mask) != addrsLen {
		return false
	}
	var probe [addrsLen]byte
	copy(probe[:], g.src[:])
	copy(probe[6:], Destination[:])
	for i, bits := range mask {
		if bits&(eth[i]^probe[i]) != 0 {
			return true
		}
	}
	for n := range addrsLen {
		i := (n + 6) % addrsLen // the destination first
		mask[i] = 0xff
		if eth[i] != probe[i] {
			return true
		}
	}
	return false
}
