//go:build lab

package kernel_test

import (
	"fmt"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// TestReservedAddresses: frames to the addresses that IEEE 802.1D reserves for the link are not
// forwarded, frames to the next address are.
func TestReservedAddresses(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, nil)
	p := n.sockets(t)
	const src = "02:80:c2:00:71:33"
	var reserved [][]byte
	for i := range 16 {
		reserved = append(reserved, frame(t, fmt.Sprintf("01:80:c2:00:00:%02x", i), src))
	}
	neighbours := [][]byte{
		frame(t, "01:80:c2:00:00:10", src), frame(t, "01:80:c2:00:01:00", src), frame(t, "01:80:c3:00:00:00", src),
		frame(t, "33:33:00:00:00:01", src), frame(t, "01:00:5e:00:00:fb", src),
	}
	for range 3 { // by the daemon, then by its flows
		send(t, p[0], reserved...)
		for _, f := range neighbours {
			send(t, p[0], f)
			for _, i := range []int{1, 2} {
				p[i].Expect(t, waitLimit, func(got []byte) bool {
					if among(reserved...)(got) {
						t.Errorf("a frame to %x was forwarded", got[:6])
					}
					return among(f)(got)
				})
			}
		}
	}
	if got := p[0].Count(t, among(append(reserved, neighbours...)...)); got != 0 {
		t.Errorf("%d frames were sent out of their in-port", got)
	}
	stop(t, d)
	// The source of a reserved frame is not learned; the source of the other frames is learned
	// once.
	checkLearned(t, d, 1)
}

// checkLearned compares the number of MACs learned according to the log of a stopped daemon.
func checkLearned(t *testing.T, d *lab.Daemon, want int64) {
	t.Helper()
	stats := d.Events("stats")
	if len(stats) == 0 {
		t.Fatal("no stats event")
	}
	if got := stats[len(stats)-1].Int(t, "macs_learned"); got != want {
		t.Errorf("macs_learned is %d, want %d", got, want)
	}
}

func TestMulticastSourceIsNotLearned(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	p := n.sockets(t)
	for _, src := range []string{"03:00:00:00:00:07", broadcast, "33:33:00:00:00:02", "01:00:5e:01:02:03",
		"00:00:00:00:00:00"} {
		f := frame(t, broadcast, src)
		send(t, p[0], f)
		p[1].Expect(t, waitLimit, among(f))
	}
	good := frame(t, broadcast, "02:00:00:00:00:07")
	send(t, p[0], good)
	p[1].Expect(t, waitLimit, among(good))
	stop(t, d)
	checkLearned(t, d, 1)
}

// TestSamePort: a frame to a station behind its in-port is dropped.
func TestSamePort(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	n.run(t, nil)
	v := n.view(t)
	p := n.sockets(t)
	const here, alsoHere = "02:11:22:00:aa:01", "02:11:22:00:aa:02"
	hello := frame(t, broadcast, here)
	send(t, p[0], hello)
	p[2].Expect(t, waitLimit, among(hello))
	local := frame(t, here, alsoHere)
	send(t, p[0], local)
	v.toward(t, here, "drop")
	last := frame(t, broadcast, alsoHere)
	send(t, p[0], local, last)
	for i, s := range p[1:] {
		s.Expect(t, waitLimit, func(f []byte) bool {
			if among(local)(f) {
				t.Errorf("a frame between two stations of one port reached port %d", i+1)
			}
			return among(last)(f)
		})
	}
	if p[0].Count(t, among(local)) != 0 {
		t.Error("a frame between two stations of one port returned to it")
	}
}

func TestFloodPolicy(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 4)
	d := n.run(t, settings{"policy": "{type: flood}"})
	p := n.sockets(t)
	const macA, macB = "02:f1:00:d0:00:0a", "02:f1:00:d0:00:0b"
	for range 4 { // known or not, all ports get it
		for _, f := range []struct {
			from int
			data []byte
		}{{0, frame(t, macB, macA)}, {1, frame(t, macA, macB)}, {2, frame(t, "01:80:c2:00:00:0e", macA)}} {
			send(t, p[f.from], f.data)
			for i, s := range p {
				if i != f.from {
					s.Expect(t, waitLimit, among(f.data))
				}
			}
			if p[f.from].Count(t, among(f.data)) != 0 {
				t.Error("a flooded frame returned to its port")
			}
		}
	}
	if got := len(n.view(t).flows(t)); got != 3 {
		t.Errorf("%d flows, want one for each of the 3 ports that sent", got)
	}
	stop(t, d)
	checkLearned(t, d, 0)
}

func TestDropPolicy(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"policy": "{type: drop}"})
	v := n.view(t)
	p := n.sockets(t)
	var sent [][]byte
	for range 9 {
		sent = append(sent, frame(t, broadcast, "02:d0:00:00:00:11"))
	}
	send(t, p[0], sent...)
	want := flow{inPort: v.portNo(t, n.hosts[0].port), actions: "drop"}
	eventually(t, waitLimit, "one flow that drops what comes in", func() bool {
		_, ok := v.flows(t)[want]
		return ok
	})
	e := d.Wait(t, time.Now(), "stats", nil)
	hit, dropped := e.Int(t, "hit"), e.Int(t, "dropped")
	if hit+dropped != int64(len(sent)) || dropped == 0 {
		t.Errorf("hit %d, dropped %d: want %d in all, and one dropped at least", hit, dropped, len(sent))
	}
	if got := p[1].Count(t, among(sent...)); got != 0 {
		t.Errorf("%d frames arrived", got)
	}
}
