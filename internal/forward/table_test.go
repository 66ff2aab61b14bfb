package forward

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

// verify checks that chains, rings, ranks and counters of t are consistent.
func (t *table) verify() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	chained := map[int32]bool{}
	for b, i := range t.buckets {
		for ; i != none; i = t.entries[i].chain {
			if head, _ := t.bucket(t.hash(t.entries[i].key)); head != &t.buckets[b] || chained[i] {
				return fmt.Errorf("entry %d is in the wrong chain, or twice in one", i)
			}
			chained[i] = true
		}
	}
	inRings, longest := 0, 0
	for no, r := range t.rings {
		n := 0
		for i := r.hand; i != none && (n == 0 || i != r.hand); i = t.entries[i].next {
			e := &t.entries[i]
			if e.port != no || !chained[i] || e.seen.Load() == never || t.entries[e.next].prev != i {
				return fmt.Errorf("entry %d in the ring of port %v: port %v, chained %v, seen %d", i, no, e.port, chained[i],
					e.seen.Load())
			}
			n++
		}
		if n != r.n {
			return fmt.Errorf("port %v: %d entries, counted %d", no, n, r.n)
		}
		inRings, longest = inRings+n, max(longest, n)
	}
	free := 0
	for i := t.free; i != none; i = t.entries[i].chain {
		if chained[i] || t.entries[i].seen.Load() != never {
			return fmt.Errorf("free entry %d is in use", i)
		}
		free++
	}
	if inRings != len(chained) || inRings+free != len(t.entries) {
		return fmt.Errorf("%d entries in rings, %d in chains, %d free of %d", inRings, len(chained), free, len(t.entries))
	}
	ranked := 0
	for n, r := range t.ranks {
		for ; r != nil; r = r.next {
			if r.n != n || t.rings[r.port] != r {
				return fmt.Errorf("port %v with %d entries is in rank %d", r.port, r.n, n)
			}
			ranked++
		}
	}
	if ranked != len(t.rings) || longest != t.longest {
		return fmt.Errorf("%d of %d ports ranked; most entries %d, recorded %d", ranked, len(t.rings), longest, t.longest)
	}
	s := t.stats
	if uint64(inRings) != s.Learned-s.Expired-s.Evicted-s.Flushed {
		return fmt.Errorf("%d entries, counters %+v", inRings, s)
	}
	return nil
}

func verify(t testing.TB, l *Learning) {
	t.Helper()
	if err := l.table.verify(); err != nil {
		t.Fatal(err)
	}
}

func TestEvictionFromLargestPort(t *testing.T) {
	const limit = 64
	l := newLearning(t, limit, 1, 2, 3)
	for i := range 10 {
		decide(l, key(1, host(i), broadcast), 1)
		decide(l, key(2, host(100+i), broadcast), 1)
	}
	g := l.Generation()
	for i := range 1000 {
		decide(l, key(3, host(1000+i), broadcast), int64(2+i))
	}
	if l.Generation() != g {
		t.Error("the generation grew for MACs that no flow outputs to")
	}
	verify(t, l)
	s := l.Stats()
	want := s
	want.Entries, want.Evicted = limit, 1020-limit
	want.PortEntries = map[odp.PortNo]int{1: 10, 2: 10, 3: 44}
	want.PortEvicted = map[odp.PortNo]uint64{1: 0, 2: 0, 3: 1020 - limit}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
	// The port with the most MACs loses entries to others too, down to its fair share.
	for i := range 40 {
		decide(l, key(1, host(200+i), broadcast), 2000)
	}
	verify(t, l)
	s = l.Stats()
	if s.PortEntries[2] != 10 || s.PortEntries[1] < 26 || s.PortEntries[1]+s.PortEntries[3] != 54 {
		t.Errorf("%+v", s.PortEntries)
	}
}

// TestEvictedDestination: the generation grows when a MAC is evicted to which flows may output, and
// when a MAC is learned again from which flows on another port may come. An evicted MAC that is
// sent to causes a full dump when there is time, so that it can be learned again.
func TestEvictedDestination(t *testing.T) {
	l := learningWith(t, Config{MACLimit: 10, Ports: PortConfigs{"p1": {MACLimit: 1}}}, 1, 2, 3)
	grows := func(what string, want bool, do func()) {
		t.Helper()
		g := l.Generation()
		if do(); (l.Generation() != g) != want {
			t.Errorf("%s: the generation grew: %v", what, !want)
		}
	}
	from := func(in odp.PortNo, src, dst odp.MAC) func() { return func() { decide(l, key(in, src, dst), 1) } }
	from(2, host(9), broadcast)()
	grows("first", false, from(1, host(1), broadcast))
	grows("nobody had sent to the first", false, from(1, host(2), broadcast))
	grows("somebody sends", false, from(2, host(9), host(2)))
	grows("the second goes", true, from(1, host(3), broadcast))
	grows("it is back where it was", false, from(1, host(2), broadcast))
	if l.Expiring(1) {
		t.Error("a full dump although no evicted MAC is missed")
	}
	grows("a forgotten one is sent to", false, from(2, host(9), host(3)))
	if !l.Expiring(1) {
		t.Error("no full dump for a missed MAC")
	}
	if l.Expire(1); l.Expiring(1) {
		t.Error("a second full dump")
	}
	grows("another one forgotten", false, from(1, host(4), broadcast))
	grows("it comes back at another port", true, from(3, host(2), broadcast))
}

// TestEvictionTie: among ports with equally many entries, the one that learns loses one.
func TestEvictionTie(t *testing.T) {
	for _, learner := range []odp.PortNo{1, 2} {
		l := newLearning(t, 20, 1, 2)
		for i := range 20 {
			decide(l, key(odp.PortNo(i%2+1), host(i), broadcast), 1)
		}
		decide(l, key(learner, host(50), broadcast), 2)
		verify(t, l)
		if s := l.Stats(); s.PortEntries[1] != 10 || s.PortEntries[2] != 10 {
			t.Errorf("port %v learned: %v", learner, s.PortEntries)
		}
	}
}

// TestEvictionSecondChance: refreshed MACs stay while one-time sources pass through; without
// refreshes the oldest is evicted first.
func TestEvictionSecondChance(t *testing.T) {
	const limit = 8
	l := newLearning(t, limit, 1)
	known := func(n int) bool { _, ok := l.table.lookup(macKey(0, host(n))); return ok }
	now := int64(1)
	see := func(n int) { now++; decide(l, key(1, host(n), broadcast), now) }
	for i := range limit {
		see(i)
	}
	for i := range 3 {
		see(100 + i)
		if known(i) || !known(i+1) {
			t.Fatalf("after %d evictions: %d known %v, %d known %v", i+1, i, known(i), i+1, known(i+1))
		}
	}
	learned := l.Stats().Learned
	for i := range 50 {
		see(5)
		see(7)
		see(200 + i)
	}
	if learned = l.Stats().Learned - learned; learned != 50 || known(3) || known(100) {
		t.Errorf("learned %d MACs, of which 50 were new; 3 known %v, 100 known %v", learned, known(3), known(100))
	}
	for i := range limit { // all refreshed: one is evicted nevertheless
		for _, e := range l.Snapshot() {
			now++
			l.table.learn(macKey(0, e.MAC), 1, now, true)
		}
		see(400 + i)
		if !known(400 + i) {
			t.Error("no room")
		}
	}
	verify(t, l)
}

// TestReusedEntry: an entry that was refreshed and then removed gives its next MAC no second
// chance, and cannot be removed twice.
func TestReusedEntry(t *testing.T) {
	l := newLearning(t, 2, 1)
	for n, now := range []int64{1, 1, 50_000, 50_001, 50_002} {
		l.Expire(now)
		decide(l, key(1, host(max(1, n)), broadcast), now)
	}
	got := l.Snapshot()
	if len(got) != 2 || got[0].MAC != host(3) || got[1].MAC != host(4) {
		t.Errorf("%v", got)
	}
	l.SetPorts(nil)
	l.table.mu.Lock()
	again := l.table.removeOlder(l.table.free, never)
	l.table.mu.Unlock()
	if again {
		t.Error("a free entry was removed")
	}
}

func TestObserveDoesNotEvictNewer(t *testing.T) {
	l := newLearning(t, 2, 1, 2)
	decide(l, key(1, host(1), broadcast), 100)
	decide(l, key(1, host(2), broadcast), 200)
	l.Observe(key(2, host(3), broadcast), 100)
	if s := l.Stats(); s.Evicted != 0 || s.PortEntries[1] != 2 {
		t.Errorf("an older MAC replaced a newer one: %+v", s)
	}
	l.Observe(key(2, host(3), broadcast), 101)
	if s := l.Stats(); s.Evicted != 1 || s.PortEntries[1] != 1 || s.PortEntries[2] != 1 {
		t.Errorf("a newer MAC replaced none: %+v", s)
	}
}

func TestSnapshotAndVLANKeys(t *testing.T) {
	l := newLearning(t, 10, 1, 2)
	l.table.learn(macKey(4094, host(3)), 2, 70, true)
	l.table.learn(macKey(0, host(4)), 1, 80, true)
	l.table.learn(macKey(0, host(3)), 1, 90, true)
	want := []MACEntry{{VLAN: 0, MAC: host(3), Port: 1, SeenMS: 90}, {VLAN: 0, MAC: host(4), Port: 1, SeenMS: 80},
		{VLAN: 4094, MAC: host(3), Port: 2, SeenMS: 70}}
	got := l.Snapshot()
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// TestConcurrent runs deciding goroutines in parallel with changes by the control side, for the
// race detector and for verify.
func TestConcurrent(t *testing.T) {
	const limit, deciders, rounds = 32, 4, 3000
	l := newLearning(t, limit, 1, 2, 3)
	var keys [][]byte
	for n := range 200 {
		in := odp.PortNo(n%3 + 1)
		dst := host(n * 7 % 100)
		if n%10 == 0 {
			dst = broadcast
		}
		keys = append(keys, key(in, host(n%100), dst))
	}
	var wg sync.WaitGroup
	for g := range deciders {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 9))
			var v policy.Verdict
			for i := range rounds {
				k := keys[random.IntN(len(keys))]
				in, _ := odp.InPort(k)
				v.Clear()
				if i%3 == 0 {
					l.Redecide(k, &v)
				} else {
					l.Decide(&dpif.Upcall{InPort: in, Key: k}, int64(i), &v)
				}
				for _, out := range outputs(t, &v) {
					if out == in {
						t.Errorf("%s: out of the in-port", v.Reason)
					}
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(5, 9))
	last := uint64(0)
	for i := range rounds {
		switch i % 5 {
		case 0:
			l.SetPorts(portList([]odp.PortNo{1, 2, 3}[:1+random.IntN(3)]...))
		case 1:
			if l.Expiring(int64(i) + agingMS/2) {
				l.Expire(int64(i) + agingMS/2)
			}
		case 2:
			l.Stats()
			l.Snapshot()
		default:
			l.Observe(keys[random.IntN(len(keys))], int64(i))
		}
		if g := l.Generation(); g < last {
			t.Errorf("generation went back from %d to %d", last, g)
		} else {
			last = g
		}
		if i%100 == 0 {
			if err := l.table.verify(); err != nil {
				t.Error(err)
				break
			}
		}
	}
	wg.Wait()
	verify(t, l)
	l.SetPorts(nil)
	verify(t, l)
	if s := l.Stats(); s.Entries != 0 || len(s.PortEntries) != 0 {
		t.Errorf("%+v", s)
	}
}
