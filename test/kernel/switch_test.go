//go:build lab

package kernel_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// portsOf formats the ports of a network with settings for each.
func (n *network) portsOf(settings ...string) string {
	var list []string
	for i, h := range n.hosts {
		list = append(list, fmt.Sprintf("{name: %s, %s}", h.port, settings[i]))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// TestHairpinAndIsolation: a frame is sent out of its in-port only with hairpin; isolated ports of
// a group do not reach each other, neither by flooding nor by learned MACs, in the first packets
// and by flows.
func TestHairpinAndIsolation(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 4)
	d := n.run(t, settings{"ports": n.portsOf("hairpin: true", "isolated: true, group: g", "isolated: true, group: g",
		"isolated: true")})
	p := n.sockets(t)
	macs := []string{"02:00:5e:00:51:0a", "02:00:5e:00:51:0b", "02:00:5e:00:51:0c", "02:00:5e:00:51:0d"}
	reaches := func(from, to int) bool {
		switch {
		case from == to:
			return from == 0
		case from == 0 || to == 0 || from == 3 || to == 3:
			return true
		}
		return false
	}
	for round := range 3 {
		for from := range p {
			flood := frame(t, broadcast, macs[from])
			send(t, p[from], flood)
			var direct [][]byte
			for to := range p {
				f := frame(t, macs[to], macs[from])
				direct = append(direct, f)
				send(t, p[from], f)
			}
			for to := range p {
				if !reaches(from, to) {
					continue
				}
				p[to].Expect(t, waitLimit, among(flood))
				p[to].Expect(t, waitLimit, among(direct[to]))
			}
			// A later frame on the same paths has arrived, so nothing else will.
			for to := range p {
				last := frame(t, broadcast, macs[0])
				send(t, p[0], last)
				p[to].Expect(t, waitLimit, func(f []byte) bool {
					if round > 0 && !reaches(from, to) && among(flood, direct[to])(f) {
						t.Errorf("round %d: from %d reached %d", round, from, to)
					}
					return among(last)(f)
				})
			}
		}
	}
	stop(t, d)
}

// TestReservedMulticast: frames of spanning tree and similar protocols are not forwarded until a
// reload sets forward_bpdu.
func TestReservedMulticast(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	p := n.sockets(t)
	const src = "02:00:5e:00:b1:01"
	destinations := []string{"01:80:c2:00:00:00", "01:80:c2:00:00:0e", "01:00:0c:cc:cc:cc", "01:00:0c:cc:cc:c5",
		"00:e0:2b:00:00:04"}
	for range 2 {
		var frames [][]byte
		for _, dst := range destinations {
			frames = append(frames, frame(t, dst, src))
		}
		last := frame(t, "01:80:c2:00:00:10", src)
		send(t, p[0], append(frames, last)...)
		p[1].Expect(t, waitLimit, func(f []byte) bool {
			if among(frames...)(f) {
				t.Errorf("forwarded: % x", f[:14])
			}
			return among(last)(f)
		})
	}
	since := reload(t, d, n.config(settings{"policy": "{forward_bpdu: true}"}))
	d.Wait(t, since, "reloaded", nil)
	for _, dst := range destinations {
		eventually(t, waitLimit, "frames to "+dst+" are forwarded", func() bool {
			f := frame(t, dst, src)
			send(t, p[0], f)
			for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); {
				if got, err := p[1].Receive(50 * time.Millisecond); err == nil && among(f)(got) {
					return true
				}
			}
			return false
		})
	}
	stop(t, d)
}

// TestStormControl floods from a port with limits for broadcasts and unknown unicast, and from one
// without: the kernel's meters pass what is configured, and do not affect frames to a known
// station.
func TestStormControl(t *testing.T) { inStages(t, stormControl) }

func stormControl(t *testing.T, stages string) {
	t.Parallel()
	needMeters(t)
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{
		"ports": n.portsOf("storm: {broadcast: 20/s, unknown_unicast: 30/s}", "", ""),
		"flows": "{max_idle: 5m, stages: " + stages + "}",
	})
	v := n.view(t)
	eventually(t, waitLimit, "the revalidator's first cycle has made the meters", func() bool {
		_, err := v.MeterStats(1)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatal(err)
		}
		return err == nil
	})
	p := n.sockets(t)
	const limited, free, station, nobody = "02:00:5e:00:5a:01", "02:00:5e:00:5a:02", "02:00:5e:00:5a:03",
		"02:00:5e:00:5a:99"
	send(t, p[2], frame(t, broadcast, station))
	p[0].Expect(t, waitLimit, func([]byte) bool { return true })
	eventually(t, waitLimit, "the flow of broadcasts names a meter", func() bool {
		send(t, p[0], frame(t, broadcast, limited))
		for _, actions := range v.texts(t) {
			if strings.HasPrefix(actions, "meter(1)") {
				return true
			}
		}
		return false
	})
	const burst = 600
	for _, tt := range []struct {
		name     string
		from     int
		src, dst string
		rate     float64 // packets per second, 0 for no limit
		meter    uint32
	}{
		{"broadcast", 0, limited, broadcast, 20, 1},
		{"unknown unicast", 0, limited, nobody, 30, 2},
		{"known unicast", 0, limited, station, 0, 0},
		{"multicast", 0, limited, "01:00:5e:00:00:05", 0, 0},
		{"broadcast from another port", 1, free, broadcast, 0, 0},
	} {
		// The first frame creates the flow.
		first := frame(t, tt.dst, tt.src)
		send(t, p[tt.from], first)
		eventually(t, waitLimit, "the flow is there", func() bool {
			for match := range v.texts(t) {
				from := stages == "two" || strings.Contains(match, "src="+tt.src)
				if from &&
					(strings.Contains(match, "dst="+tt.dst) || tt.dst[:2] != "02" && strings.Contains(match, "dst="+tt.dst[:2])) {
					return true
				}
			}
			return false
		})
		// All frames sent so far have passed the meters.
		fence := frame(t, station, limited)
		send(t, p[0], fence)
		p[2].Expect(t, waitLimit, among(fence))
		n.answered(t, v)
		var before dpif.MeterStats
		if tt.meter != 0 {
			var err error
			if before, err = v.MeterStats(tt.meter); err != nil {
				t.Fatal(err)
			}
		}
		p[2].Count(t, func([]byte) bool { return true })
		var frames [][]byte
		for range burst {
			frames = append(frames, frame(t, tt.dst, tt.src))
		}
		began := time.Now()
		send(t, p[tt.from], frames...)
		last := frame(t, station, limited) // its path has no meter
		send(t, p[0], last)
		got := 0
		sent := among(frames...)
		p[2].Expect(t, waitLimit, func(f []byte) bool {
			if sent(f) {
				got++
			}
			return among(last)(f)
		})
		got += p[2].Count(t, sent)
		took := time.Since(began)
		t.Logf("%s: %d of %d arrived in %v", tt.name, got, burst, took.Round(time.Millisecond))
		if tt.rate == 0 {
			if tt.from == 0 && got != burst {
				t.Errorf("%s: %d of %d arrived", tt.name, got, burst)
			}
			continue
		}
		// The meter allows a burst of one second's worth, and its clock has a resolution of
		// milliseconds.
		worth := 1.1
		if !lab.Strict() {
			worth++ // before Linux 5.13 the kernel adds the rate to the burst
		}
		if most := tt.rate * (took.Seconds() + worth); float64(got) > most || got == 0 {
			t.Errorf("%s: %d arrived, want at most %.0f", tt.name, got, most)
		}
		after, err := v.MeterStats(tt.meter)
		if n := after.Packets - before.Packets; err != nil || n != burst {
			t.Errorf("%s: meter %d saw %d packets (%v), want %d", tt.name, tt.meter, n, err, burst)
		}
	}
	stop(t, d)
	type drops struct{ Broadcast, UnknownUnicast int64 }
	droppedBy := func(meter uint32) int64 {
		s, err := v.MeterStats(meter)
		if err != nil {
			t.Fatal(err)
		}
		return int64(s.Dropped)
	}
	dropped := drops{droppedBy(1), droppedBy(2)}
	stats := d.Events("stats")
	last := stats[len(stats)-1]
	got := drops{last.Int(t, "storm_broadcast"), last.Int(t, "storm_unknown_unicast")}
	if diff := cmp.Diff(dropped, got); diff != "" || dropped.Broadcast == 0 {
		t.Errorf("%d broadcasts dropped; packets dropped (-meters +stats):\n%s", dropped.Broadcast, diff)
	}
	if got := d.Events("stopped")[0].Int(t, "lost"); got != dropped.Broadcast+dropped.UnknownUnicast {
		t.Errorf("stopped has %d lost, want %+v", got, dropped)
	}
	for i, kind := range []string{"broadcast", "unknown_unicast"} {
		e := d.Wait(t, time.Time{}, "storm_limited", func(e lab.Event) bool { return e.Text("kind") == kind })
		if e.Text("port") != n.hosts[0].port || e.Int(t, "limit") != []int64{20, 30}[i] || e.Int(t, "lost") == 0 {
			t.Errorf("storm_limited: %v", e.Fields)
		}
	}
	if got := d.Events("storm_control_off"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
