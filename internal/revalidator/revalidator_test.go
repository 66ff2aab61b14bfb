package revalidator

import (
	"testing"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// constant is a policy that never changes.
type constant struct{ policy.Policy }

func (constant) Generation() uint64  { return 0 }
func (constant) Expiring(int64) bool { return false }

func newTestRevalidator(flowLimit int) *Revalidator {
	return New(Config{Datapath: dpiftest.Datapath(nil), Policy: constant{}, Limits: Limits{Flows: flowLimit},
		Budget: NewBudget(0), Hasher: odp.NewMaskedHasher(), Notify: func(event.Event) {}, Barrier: func() {}})
}

// TestExcess: above the limit, as many flows as necessary are deleted in addition to the idle ones,
// not all.
func TestExcess(t *testing.T) {
	const now = 1_000_000
	for _, tt := range []struct {
		name         string
		excess       int
		crowded      time.Duration // idle time above the limit
		used         []int64       // ms before now
		want, remain int
	}{
		{"within the limit", 0, 10 * time.Second, []int64{50, 9_000, 11_000}, 1, -1},
		{"over it", 2, crowdedIdle, []int64{50, 9_000, 60, 8_000, 7_000}, 2, 0},
		{"idle ones count", 2, crowdedIdle, []int64{11_000, 12_000, 9_000}, 2, 0},
		{"none to spare", 2, crowdedIdle, []int64{50, 60, 70}, 0, 2},
		{"far over it", 3, 0, []int64{50, 60, 70, 80}, 3, 0},
	} {
		r := newTestRevalidator(10)
		r.maxIdle, r.idle, r.excess = 10*time.Second, tt.crowded, tt.excess
		for i, used := range tt.used {
			r.look(&dpif.Flow{UFID: dpif.UFID{byte(i)}, HasUFID: true, UsedMS: now - used}, now, false)
		}
		if len(r.changes) != tt.want || r.excess != tt.remain {
			t.Errorf("%s: %d flows go, %d too many are left; want %d, %d", tt.name, len(r.changes), r.excess, tt.want, tt.remain)
		}
	}
}

// TestPrimedUnused: a primed flow that no packet matched is deleted early, and the next dump comes
// in time for that.
func TestPrimedUnused(t *testing.T) {
	const now, maxIdle = 1_000_000, 10_000
	for _, tt := range []struct {
		name   string
		id     dpif.UFID
		usedMS int64
		goes   bool
		oldest int64 // as in dumpPace
	}{
		{"primed, new", dpif.NewPrimedUFID(1, now-2000), 0, false, now - 2000 - maxIdle*3/4},
		{"primed, unused", dpif.NewPrimedUFID(1, now-3000), 0, true, now - 3000 - maxIdle*3/4},
		{"primed, used", dpif.NewPrimedUFID(1, now-9000), now - 3000, false, now - 3000},
		{"not primed", dpif.NewUFID(1, now-3000), 0, false, now - 3000},
	} {
		r := newTestRevalidator(10)
		r.maxIdle = maxIdle * time.Millisecond
		r.pace.begin(now)
		r.look(&dpif.Flow{UFID: tt.id, HasUFID: true, UsedMS: tt.usedMS}, now, false)
		if goes := len(r.changes) == 1; goes != tt.goes || r.pace.oldest != tt.oldest {
			t.Errorf("%s: goes %t, oldest %d; want %t, %d", tt.name, goes, r.pace.oldest, tt.goes, tt.oldest)
		}
	}
}

// TestCoversRemembers: earlier results for masks do not change the results for others.
func TestCoversRemembers(t *testing.T) {
	r := newTestRevalidator(0)
	mask := func(bits byte) []byte {
		var e netlink.Encoder
		odp.AppendInPortMask(&e)
		odp.AppendEthernet(&e, odp.MAC{bits}, odp.MAC{bits, bits})
		return e.Bytes()
	}
	for range 3 {
		for _, tt := range []struct {
			have, need byte
			want       bool
		}{
			{0xff, 0x0f, true}, {0xff, 0xff, true}, {0x0f, 0xff, false}, {0xff, 0xff, true}, {0x0f, 0x0f, true}, {0x0f, 0x1f, false},
		} {
			for range 2 {
				if got, err := r.covers(mask(tt.have), mask(tt.need)); got != tt.want || err != nil {
					t.Errorf("%#x covers %#x: %v, %v; want %v", tt.have, tt.need, got, err, tt.want)
				}
			}
		}
		if _, err := r.covers([]byte{1}, mask(1)); err == nil {
			t.Error("a malformed mask passes")
		}
	}
}

// TestMadeMS: the creation time of a flow is known from its UFID, or else from the dump before the
// one that showed it first.
func TestMadeMS(t *testing.T) {
	r := newTestRevalidator(0)
	const now = 1_000_000
	foreign := dpif.UFID{1, 2, 3}
	for _, tt := range []struct {
		flow    dpif.Flow
		at      int64
		want    int64
		guessed bool
	}{
		{dpif.Flow{UFID: dpif.NewUFID(9, 990_123), HasUFID: true}, now, 990_123, false},
		{dpif.Flow{UFID: foreign, HasUFID: true}, now, now - 500, true},
		{dpif.Flow{UFID: foreign, HasUFID: true}, now + 3_000, now - 500, true},
		{dpif.Flow{Key: []byte{8, 0, 3, 0, 1, 0, 0, 0}}, now, now - 500, true},
		{dpif.Flow{Key: []byte{8, 0, 3, 0, 1, 0, 0, 0}}, now + 4_000, now - 500, true},
	} {
		r.pace.begin(tt.at)
		if got := r.madeMS(&tt.flow, tt.at); got != tt.want || r.pace.guessed != tt.guessed {
			t.Errorf("%+v at %d: %d, a guess: %v; want %d, %v", tt.flow, tt.at, got, r.pace.guessed, tt.want, tt.guessed)
		}
		r.unused, r.unusedBefore = r.unusedBefore, r.unused
	}
}

// TestLooks: a cycle that postpones its full dump for lack of time does not count for port numbers
// that wait for one.
func TestLooks(t *testing.T) {
	r := newTestRevalidator(100)
	r.pace.begin(clock.NowMS())
	cycle := func(want uint64) {
		t.Helper()
		if err := r.Cycle(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := r.Looks(); got != want {
			t.Errorf("%d looks, want %d", got, want)
		}
	}
	cycle(1)
	now := time.Now()
	r.fullPace.took(now.Add(-time.Hour), now)
	r.RequestFullDump()
	cycle(1)
	cycle(1)
	r.full.Store(false)
	cycle(2)
}
