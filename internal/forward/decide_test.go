package forward

import (
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

var allocCases = []struct {
	name     string
	policy   func(testing.TB) policy.Policy
	src, dst odp.MAC
}{
	{"known", warm, host(1), host(2)},
	{"unknown", warm, host(1), host(77)},
	{"broadcast", warm, host(1), broadcast},
	{"reserved", warm, host(1), reserved[0].addr},
	{"flood", func(testing.TB) policy.Policy { p := newFlood(nil); p.SetPorts(portList(1, 2, 3)); return p }, host(1), host(2)},
	{"tunnels", func(t testing.TB) policy.Policy {
		cfg := tunnelPorts()
		cfg["two"].Tunnel.TOSInherit = true
		cfg["host"] = PortConfig{MirrorTo: "dev"}
		return newTunnelSwitch(t, cfg)
	}, host(1), broadcast},
	{"drop", func(testing.TB) policy.Policy { p := NewDrop(); p.SetPorts(portList(1, 2, 3)); return p }, host(1), host(2)},
}

func warm(t testing.TB) policy.Policy {
	l := newLearning(t, 1024, 1, 2, 3)
	for n := range 2000 {
		decide(l, key(3, host(1000+n), broadcast), 1)
	}
	decide(l, key(1, host(1), broadcast), 2)
	decide(l, key(2, host(2), broadcast), 2)
	return l
}

// newSource writes the n-th source address into k, a result of key.
func newSource(k []byte, n int) {
	const ethernet = 8 + 8 + 8 + 8 + 4 // after three numbers, the mark and a header
	src := host(5000 + n)
	copy(k[ethernet:], src[:])
}

func TestDecideAllocs(t *testing.T) {
	for _, tt := range allocCases {
		p, u := tt.policy(t), dpif.Upcall{InPort: 1, Key: key(1, tt.src, tt.dst)}
		var v policy.Verdict
		now := int64(10)
		if n := testing.AllocsPerRun(200, func() {
			v.Clear()
			now++
			p.Decide(&u, now, &v)
			v.Clear()
			if !p.Redecide(u.Key, &v) {
				t.Fatal(v.Reason)
			}
			p.Observe(u.Key, now)
		}); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
	l := warm(t).(*Learning)
	u, n := dpif.Upcall{InPort: 2, Key: key(2, host(1), broadcast)}, 0
	var v policy.Verdict
	before := l.Stats().Evicted
	if got := testing.AllocsPerRun(3000, func() {
		newSource(u.Key, n)
		n++
		v.Clear()
		l.Decide(&u, 10, &v)
	}); got != 0 {
		t.Errorf("new sources: %v allocations", got)
	}
	if evicted := l.Stats().Evicted - before; evicted < 3000 {
		t.Errorf("only %d evictions", evicted)
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, tt := range allocCases {
		b.Run(tt.name, func(b *testing.B) {
			p, u := tt.policy(b), dpif.Upcall{InPort: 1, Key: key(1, tt.src, tt.dst)}
			var v policy.Verdict
			now := int64(10)
			b.ReportAllocs()
			for b.Loop() {
				now++
				v.Clear()
				p.Decide(&u, now, &v)
			}
		})
	}
	b.Run("new_source", func(b *testing.B) {
		p, u, n := warm(b), dpif.Upcall{InPort: 2, Key: key(2, host(1), broadcast)}, 0
		var v policy.Verdict
		b.ReportAllocs()
		for b.Loop() {
			newSource(u.Key, n)
			n++
			v.Clear()
			p.Decide(&u, 10, &v)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		p, k := warm(b), key(1, host(1), host(2))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var v policy.Verdict
			u := dpif.Upcall{InPort: 1, Key: k}
			for pb.Next() {
				v.Clear()
				p.Decide(&u, 10, &v)
			}
		})
	})
}

func BenchmarkExpiring(b *testing.B) {
	l := newLearning(b, 8192, 1)
	for n := range 8192 {
		decide(l, key(1, host(n), broadcast), 1)
	}
	for b.Loop() {
		if l.Expiring(2) {
			b.Fatal("nothing has expired")
		}
	}
}
