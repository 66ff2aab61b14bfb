package upcall_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/forward"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/upcall"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func host(n int) odp.MAC { return odp.MAC{2, 0xaa, 0, 0, byte(n >> 8), byte(n)} }

// flowKey builds a key as the kernel does for an IPv4 packet.
func flowKey(in odp.PortNo, src, dst odp.MAC) []byte {
	var e netlink.Encoder
	e.Uint32(odp.KeyAttrPriority, 0)
	odp.AppendInPort(&e, in)
	e.Uint32(odp.KeyAttrSkbMark, 0)
	odp.AppendEthernet(&e, src, dst)
	odp.AppendEthertype(&e, 0x0800)
	e.Attr(odp.KeyAttrIPv4, []byte{10, 0, 0, 1, 10, 0, 0, byte(src[5]), 17, 0, 64, 0})
	e.Attr(odp.KeyAttrUDP, []byte{1, 2, src[5], dst[5]})
	return bytes.Clone(e.Bytes())
}

func newRound(t testing.TB, flowLimit int) *upcall.Round {
	t.Helper()
	learning, err := forward.NewLearning(forward.Config{MACLimit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	learning.SetPorts([]policy.Port{{No: 0, Name: "dp0"}, {No: 1, Name: "a"}, {No: 2, Name: "b"}, {No: 7, Name: "c"}})
	r, err := upcall.NewRound(learning, flowLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestRoundAnswersEachUpcall(t *testing.T) {
	r := newRound(t, 100)
	packet := bytes.Repeat([]byte{7}, 97)
	unknown := r.Upcall(flowKey(1, host(1), host(2)), packet)
	back := r.Upcall(flowKey(7, host(2), host(1)), packet)
	reserved := r.Upcall(flowKey(2, host(3), odp.MAC{1, 0x80, 0xc2, 0, 0, 0}), packet)
	if err := r.Do(unknown, unknown, back, reserved, packet); err != nil {
		t.Fatal(err)
	}
	// The second packet of a flow finds its flow in the batch; a dropped packet has a flow and no
	// execute.
	want := []string{"execute", "put", "execute", "execute", "put", "put"}
	if diff := cmp.Diff(want, r.Requests()); diff != "" {
		t.Errorf("requests -want +got:\n%s", diff)
	}
	if got, want := r.Counters(), "upcalls 4 executed 3 dropped 1 put 3 existing 0 refused 0 over 0 decode 1 foreign 0 "+
		"execrefused 0 flows 3"; got != want {
		t.Errorf("counters\n got %s\nwant %s", got, want)
	}
	r.Refuse(1, unix.EEXIST)
	r.Refuse(4, unix.ENOMEM)
	r.Refuse(2, unix.EINVAL)
	r.Refuse(99, unix.EINVAL)
	if got, want := r.Counters(), "upcalls 4 executed 3 dropped 1 put 3 existing 1 refused 1 over 0 decode 1 foreign 0 "+
		"execrefused 1 flows 1"; got != want {
		t.Errorf("counters after refusals\n got %s\nwant %s", got, want)
	}
}

// TestRoundPrimes: when a packet is answered, the flow of the answer's direction is put before the
// packet is sent, unless more than half of the flow limit is used.
func TestRoundPrimes(t *testing.T) {
	everyone := odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	packet := make([]byte, 60)
	for _, c := range []struct {
		name  string
		taken int                      // of ten places for flows
		after func(e *netlink.Encoder) // added to the key of the answer
		want  []string
		puts  string
	}{
		{"plain", 0, func(*netlink.Encoder) {}, []string{"put", "execute", "put"}, "put 3"},
		{"half full", 4, func(*netlink.Encoder) {}, []string{"put", "execute", "put"}, "put 7"},
		{"more than half full", 5, func(*netlink.Encoder) {}, []string{"execute", "put"}, "put 7"},
		{"tagged", 0, func(e *netlink.Encoder) {
			e.Attr(odp.KeyAttrVLAN, []byte{0x10, 5})
			e.Attr(odp.KeyAttrEncap, nil)
		}, []string{"execute", "put"}, "put 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRound(t, 10)
			r.Prime()
			for i := range c.taken {
				if err := r.Do(r.Upcall(flowKey(2, host(10+i), everyone), packet)); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Do(r.Upcall(flowKey(1, host(1), everyone), packet)); err != nil {
				t.Fatal(err)
			}
			var e netlink.Encoder
			e.Raw(flowKey(7, host(2), host(1))...)
			c.after(&e)
			if err := r.Do(r.Upcall(e.Bytes(), packet)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, r.Requests()); diff != "" {
				t.Errorf("requests -want +got:\n%s", diff)
			}
			if !strings.Contains(r.Counters(), " "+c.puts+" ") {
				t.Errorf("%s, want %s", r.Counters(), c.puts)
			}
		})
	}
}

func TestRoundKeepsTheFlowLimit(t *testing.T) {
	r := newRound(t, 5)
	var batch [][]byte
	for i := range 40 {
		batch = append(batch, r.Upcall(flowKey(1, host(i), host(900)), make([]byte, 60+i)))
	}
	if err := r.Do(batch...); err != nil {
		t.Fatal(err)
	}
	puts := 0
	for _, q := range r.Requests() {
		if q == "put" {
			puts++
		}
	}
	if puts != 5 || !slices.Equal(r.Requests()[10:], slices.Repeat([]string{"execute"}, 35)) {
		t.Errorf("%d flows put of 5; requests %v", puts, r.Requests())
	}
	if got, want := r.Counters(), "upcalls 40 executed 40 dropped 0 put 5 existing 0 refused 0 over 35 decode 0 "+
		"foreign 0 execrefused 0 flows 5"; got != want {
		t.Errorf("counters\n got %s\nwant %s", got, want)
	}
}

// TestRoundAllocatesNothing decodes, decides, encodes and sends all kinds of upcalls that a running
// switch receives.
func TestRoundAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRound(t, 1_000_000)
	r.Prime()
	var batch [][]byte
	for i := range 16 {
		packet := bytes.Repeat([]byte{byte(i)}, 60+90*i)
		batch = append(batch,
			r.Upcall(flowKey(1, host(i), host(500+i)), packet),
			r.Upcall(flowKey(2, host(500+i), host(i)), packet),
			r.Upcall(flowKey(7, host(600), odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), packet),
			r.Upcall(flowKey(7, host(601), odp.MAC{1, 0x80, 0xc2, 0, 0, byte(i)}), packet))
	}
	round := func() {
		if err := r.Do(batch...); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []uint32{0, 20} {
		r.Limit(limit)
		round()
		if n := testing.AllocsPerRun(100, round); n != 0 {
			t.Errorf("%v allocations for a batch of %d upcalls, limit %d/s", n, len(batch), limit)
		}
	}
}

// TestRoundShedsBeforeItDecodes: upcalls above the port's limit are not decoded, so shedding them
// is cheap.
func TestRoundShedsBeforeItDecodes(t *testing.T) {
	r := newRound(t, 100)
	up := r.Upcall(flowKey(1, host(1), host(2)), make([]byte, 80))
	r.Limit(3)
	if err := r.Do(up, up, up, up, []byte("not an upcall"), up); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Counters(), "upcalls 3 executed 3 dropped 0 put 1 existing 0 refused 0 over 0 decode 0 foreign 0 "+
		"execrefused 0 flows 1"; got != want || r.Shed() != 3 {
		t.Errorf("shed %d, want 3; counters\n got %s\nwant %s", r.Shed(), got, want)
	}
	r.Limit(0)
	if err := r.Do(up, up); err != nil || r.Shed() != 3 {
		t.Errorf("without limit: %v, shed %d in all, want 3", err, r.Shed())
	}
}

func BenchmarkRound(b *testing.B) {
	for _, size := range []int{64, 1500, 9000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := newRound(b, 1<<40)
			var batch [][]byte
			for i := range 64 {
				batch = append(batch, r.Upcall(flowKey(1, host(i), host(500)), make([]byte, size)))
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Do(batch...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/upcall")
		})
	}
}
