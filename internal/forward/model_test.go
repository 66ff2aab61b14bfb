package forward

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"dpifd/internal/odp"
)

// model is a simple learning switch without limits.
type model struct {
	ports   []odp.PortNo // ascending
	macs    map[odp.MAC]MACEntry
	expired int64
	flooded map[odp.MAC]bool       // since they were last learned
	wanted  map[odp.MAC]bool       // sent to since they were last learned
	was     map[odp.MAC]odp.PortNo // former port of an aged-out MAC
	missed  bool                   // an aged-out MAC was sent to since the last Expire
	changes int                    // changes that affect earlier outputs
}

func (m *model) has(port odp.PortNo) bool { return slices.Contains(m.ports, port) }

// forward returns the outputs of a frame.
func (m *model) forward(in odp.PortNo, dst odp.MAC) []odp.PortNo {
	if dst.Uint64()>>4 == 0x0180c200000 {
		return nil
	}
	if e, ok := m.macs[dst]; ok && dst[0]%2 == 0 {
		m.wanted[dst] = true
		if e.Port == in {
			return nil
		}
		return []odp.PortNo{e.Port}
	}
	m.flooded[dst] = true
	if _, ok := m.was[dst]; ok {
		m.missed = true
		delete(m.was, dst)
	}
	return slices.DeleteFunc(slices.Clone(m.ports), func(p odp.PortNo) bool { return p == in })
}

func (m *model) teaches(in odp.PortNo, src, dst odp.MAC) bool {
	return m.has(in) && src[0]%2 == 0 && src != (odp.MAC{}) && dst.Uint64()>>4 != 0x0180c200000
}

func (m *model) learn(in odp.PortNo, src odp.MAC, seen int64) {
	old, ok := m.macs[src]
	was, forgotten := m.was[src]
	if ok && old.Port != in || !ok && (m.flooded[src] || forgotten && was != in) {
		m.changes++
	}
	if !ok {
		delete(m.flooded, src)
		delete(m.wanted, src)
		delete(m.was, src)
	}
	m.macs[src] = MACEntry{MAC: src, Port: in, SeenMS: max(seen, old.SeenMS)}
}

func (m *model) frame(in odp.PortNo, src, dst odp.MAC, now int64) []odp.PortNo {
	if m.teaches(in, src, dst) {
		m.learn(in, src, now)
	}
	return m.forward(in, dst)
}

func (m *model) observe(in odp.PortNo, src, dst odp.MAC, used int64) {
	old, known := m.macs[src]
	fresh := !known || used > old.SeenMS
	if used > 0 && used >= m.expired && fresh && m.teaches(in, src, dst) {
		m.learn(in, src, used)
	}
}

// forget removes the MACs that gone selects, and counts a change if any of them was sent to.
func (m *model) forget(gone func(MACEntry) bool) {
	changed := false
	maps.DeleteFunc(m.macs, func(mac odp.MAC, e MACEntry) bool {
		if !gone(e) {
			return false
		}
		changed = changed || m.wanted[mac]
		m.was[mac] = e.Port
		return true
	})
	if changed {
		m.changes++
	}
}

// sharesBit reports whether another station of TestModel has the same bit in the set of awaited
// MACs, which is rare.
func sharesBit(l *Learning, mac odp.MAC) bool {
	word, bit := l.table.awaited.bit(l.table.hash(macKey(0, mac)))
	for n := range 25 {
		w, b := l.table.awaited.bit(l.table.hash(macKey(0, host(n))))
		if host(n) != mac && w == word && b == bit {
			return true
		}
	}
	return false
}

// anyShared reports whether two stations of TestModel share a bit, or a slot for aged-out MACs.
func anyShared(l *Learning) bool {
	for n := range 25 {
		if sharesBit(l, host(n)) {
			return true
		}
	}
	return false
}

// TestModel feeds the same random frames, flow statistics and changes to Learning and to the model.
func TestModel(t *testing.T) {
	learned, mistaken := 0, 0
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 77))
		all := []odp.PortNo{0, 1, 2, 5, 65534}
		mac := func() odp.MAC {
			switch random.IntN(12) {
			case 0:
				return broadcast
			case 1:
				return odp.MACFromUint64(0x0180c2000000 + random.Uint64N(32))
			case 2:
				return odp.MAC{0x33, 0x33, 0, 0, 0, byte(random.IntN(4))}
			case 3:
				return odp.MAC{}
			default:
				return host(random.IntN(25))
			}
		}
		m := &model{macs: map[odp.MAC]MACEntry{}, flooded: map[odp.MAC]bool{}, wanted: map[odp.MAC]bool{},
			was: map[odp.MAC]odp.PortNo{}}
		l := newLearning(t, 64)
		for anyShared(l) {
			l = newLearning(t, 64)
		}
		now := int64(1)
		for step := range 4000 {
			in, src, dst := all[random.IntN(len(all))], mac(), mac()
			k := key(in, src, dst)
			generation, changes, before := l.Generation(), m.changes, l.Stats()
			switch random.IntN(40) {
			case 0:
				now += agingMS / 4
			case 1:
				m.expired = now - agingMS
				expiring := l.Expiring(now)
				n := len(m.macs)
				missed := m.missed
				m.missed = false
				m.forget(func(e MACEntry) bool { return e.SeenMS < m.expired })
				l.Expire(now)
				if expiring != (len(m.macs) != n || missed) {
					t.Fatalf("seed %d step %d: Expiring %v, the model forgot %d", seed, step, expiring, n-len(m.macs))
				}
			case 2:
				m.ports = slices.DeleteFunc(slices.Clone(all), func(odp.PortNo) bool { return random.IntN(4) == 0 })
				m.forget(func(e MACEntry) bool { return !m.has(e.Port) })
				l.SetPorts(portList(m.ports...))
				changes = m.changes // SetPorts may count as a change
				generation = l.Generation()
			case 3, 4, 5, 6:
				used := now - random.Int64N(2*agingMS)
				m.observe(in, src, dst, used)
				l.Observe(k, used)
			case 7, 8, 9, 10:
				e, known := m.macs[src]
				keep := m.has(in) && (!m.teaches(in, src, dst) || known && e.Port == in)
				v, ok := redecide(l, k)
				if ok != keep {
					t.Fatalf("seed %d step %d: %v to %v on %v: kept %v (%s), the model %v", seed, step, src, dst, in, ok,
						v.Reason, keep)
				}
				if !ok {
					break
				}
				if want := m.forward(in, dst); !slices.Equal(outputs(t, v), want) {
					t.Fatalf("seed %d step %d: %v to %v on %v: re-decided %v (%s), the model %v", seed, step, src, dst, in,
						outputs(t, v), v.Reason, want)
				}
			default:
				now += random.Int64N(20)
				v, want := decide(l, k, now), m.frame(in, src, dst, now)
				if got := outputs(t, v); !slices.Equal(got, want) || v.Install != m.has(in) {
					t.Fatalf("seed %d step %d: %v to %v on %v: %v (%s, install %v), the model %v", seed, step, src, dst, in, got,
						v.Reason, v.Install, want)
				}
			}
			switch grew := l.Generation() != generation; {
			case grew == (m.changes != changes):
			case grew && l.Stats().Learned > before.Learned:
				mistaken++ // for another station that frames were flooded to
			case !grew && sharesBit(l, src):
				// The generation grew when the other one was learned, and re-deciding would have
				// added this one to the awaited set again.
			default:
				t.Fatalf("seed %d step %d: generation grew: %v, the model changed: %v", seed, step, grew, m.changes != changes)
			}
		}
		verify(t, l)
		learned += int(l.Stats().Learned)
		got := l.Snapshot()
		for _, e := range got {
			if m.macs[e.MAC] != e {
				t.Errorf("seed %d: %+v, the model %+v", seed, e, m.macs[e.MAC])
			}
		}
		if len(got) != len(m.macs) {
			t.Errorf("seed %d: %d MACs, the model %d", seed, len(got), len(m.macs))
		}
	}
	if mistaken > learned/50 {
		t.Errorf("the generation grew for %d of %d stations that nobody had sent to", mistaken, learned)
	}
}
