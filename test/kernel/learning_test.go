//go:build lab

package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// sockets opens a packet socket on each host.
func (n *network) sockets(t *testing.T) []*lab.Packet {
	t.Helper()
	var list []*lab.Packet
	for _, h := range n.hosts {
		list = append(list, h.OpenPacket(t, "eth0"))
	}
	return list
}

// toward waits until there is a flow for frames to a MAC and all such flows have the given actions.
func (v view) toward(t *testing.T, mac, actions string) {
	t.Helper()
	eventually(t, waitLimit, fmt.Sprintf("flows to %s have actions %s", mac, actions), func() bool {
		found := 0
		for f := range v.flows(t) {
			if strings.HasSuffix(f.eth, "dst="+mac) {
				if f.actions != actions {
					return false
				}
				found++
			}
		}
		return found > 0
	})
}

func TestUnicastReachesOnlyItsPort(t *testing.T) { inStages(t, unicastReachesOnlyItsPort) }

func unicastReachesOnlyItsPort(t *testing.T, stages string) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"flows": "{stages: " + stages + "}"})
	v := n.view(t)
	p := n.sockets(t)
	const macA, macB = "02:0a:00:3c:91:05", "02:0b:77:3c:91:06"

	unknown := frame(t, macB, macA)
	send(t, p[0], unknown)
	p[1].Expect(t, waitLimit, among(unknown))
	p[2].Expect(t, waitLimit, among(unknown)) // the socket receives flooded frames

	answer := frame(t, macA, macB)
	send(t, p[1], answer)
	p[0].Expect(t, waitLimit, among(answer))
	v.toward(t, macB, v.portNo(t, n.hosts[1].port).String())

	var known [][]byte
	for range 40 {
		f := frame(t, macB, macA)
		known = append(known, f)
		send(t, p[0], f)
		p[1].Expect(t, waitLimit, among(f))
	}
	last := frame(t, broadcast, macA)
	send(t, p[0], last)
	p[2].Expect(t, waitLimit, func(f []byte) bool {
		if among(append(known, answer)...)(f) {
			t.Errorf("a learned unicast frame of %d bytes reached the third port", len(f))
		}
		return among(last)(f)
	})
	all := append(known, unknown, last)
	if got := p[0].Count(t, among(all...)); got != 0 {
		t.Errorf("%d frames were sent out of their in-port", got)
	}
	stop(t, d)
}

// chase sends frames from a peer to a MAC until one arrives at the MAC's new port, and returns the
// time since then.
func chase(t *testing.T, peer, there *lab.Packet, peerMAC, mac string, since time.Time) time.Duration {
	t.Helper()
	for within := lab.Within(waitLimit); !within.Passed(); {
		f := frame(t, mac, peerMAC)
		send(t, peer, f)
		for deadline := time.Now().Add(20 * time.Millisecond); ; {
			got, err := there.Receive(max(0, time.Until(deadline)))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if among(f)(got) {
				return time.Since(since)
			}
		}
	}
	t.Fatalf("no frame to %s arrived at its new port within %v", mac, waitLimit)
	return 0
}

func TestMovedMACIsFollowed(t *testing.T) { inStages(t, movedMACIsFollowed) }

func movedMACIsFollowed(t *testing.T, stages string) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"flows": "{stages: " + stages + "}"})
	v := n.view(t)
	p := n.sockets(t)
	const mac, peerMAC = "02:4d:01:33:e0:7a", "02:9b:01:33:e0:7b"
	no := func(i int) string { return v.portNo(t, n.hosts[i].port).String() }
	hello := func(i int) time.Time { // host i sends from the MAC
		send(t, p[i], frame(t, peerMAC, mac))
		return time.Now()
	}
	send(t, p[1], frame(t, broadcast, peerMAC))
	hello(0)
	chase(t, p[1], p[0], peerMAC, mac, time.Now())
	v.toward(t, mac, no(0))

	for _, move := range []struct {
		name string
		from int
		via  int // host where the MAC appears only briefly, -1 for none
		to   int
	}{
		{"to another port", 0, -1, 2},
		{"back, before the revalidator may have seen it go", 2, -1, 0},
		{"away and back at once, with the old flow in the kernel", 0, 2, 0},
	} {
		if move.via >= 0 {
			v.toward(t, mac, no(move.from))
			hello(move.from) // reinstalls its flow
			hello(move.via)
			// The kernel's times are in jiffies; wait so that the last frame is also the latest by
			// them.
			time.Sleep(50 * time.Millisecond)
		}
		watch := lab.StartStopwatch()
		since := hello(move.to)
		took, stalled := chase(t, p[1], p[move.to], peerMAC, mac, since), watch.Stalled()
		t.Logf("%s: followed after %v, stalled for %v of that", move.name, took.Round(time.Millisecond), stalled)
		if took > time.Second+stalled {
			t.Errorf("%s: followed after %v, stalled for %v, want 1 s at most", move.name, took, stalled)
		}
		// The MAC stays at the new port, and only there.
		v.toward(t, mac, no(move.to))
	}
	stop(t, d)
	if got := d.Events("stopped")[0].Text("lost"); got != "0" {
		t.Errorf("lost %s packets", got)
	}
}

func TestIdleFlowExpires(t *testing.T) { inStages(t, idleFlowExpires) }

func idleFlowExpires(t *testing.T, stages string) {
	t.Parallel()
	const maxIdle = 2 * time.Second
	n := newQuietNetwork(t, 2)
	n.run(t, settings{"flows": "{max_idle: 2s, stages: " + stages + "}"})
	v := n.view(t)
	p := n.sockets(t)
	busy, idle := "02:b0:5e:00:14:01", "02:1d:1e:00:14:02"
	has := func(src string) bool {
		for f := range v.flows(t) {
			if strings.Contains(f.eth, "src="+src) {
				return true
			}
		}
		return false
	}
	for range 2 { // the second frame matches the flow that the first one made
		for _, src := range []string{busy, idle} {
			f := frame(t, broadcast, src)
			send(t, p[0], f)
			p[1].Expect(t, waitLimit, among(f))
			eventually(t, waitLimit, "the flow is there", func() bool { return has(src) })
		}
	}
	quiet, watch := time.Now(), lab.StartStopwatch()
	eventually(t, waitLimit, "the idle flow is gone", func() bool {
		send(t, p[0], frame(t, broadcast, busy))
		return !has(idle)
	})
	took, stalled := time.Since(quiet), watch.Stalled()
	t.Logf("gone %v after its last packet, stalled for %v of that", took.Round(time.Millisecond), stalled)
	// The kernel's times of use are in jiffies of up to 10 ms.
	if took < maxIdle-50*time.Millisecond || took > maxIdle+cycle+slack+stalled {
		t.Errorf("gone %v after its last packet, want %v and at most one cycle more", took, maxIdle)
	}
	switch {
	case has(busy):
	case stalled > maxIdle/2:
		t.Log("the flow in use is gone too: in the stall no packet used it")
	default:
		t.Error("the flow in use is gone too")
	}
}

// TestMACAging: a silent MAC ages out, and the flows to it then flood; a MAC whose traffic stays in
// the kernel does not age out.
func TestMACAging(t *testing.T) { inStages(t, macAging) }

func macAging(t *testing.T, stages string) {
	t.Parallel()
	const aging = 3 * time.Second
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"policy": "{type: learning, mac_aging: 3s}",
		"flows": "{max_idle: 30s, stages: " + stages + "}"})
	v := n.view(t)
	p := n.sockets(t)
	const silent, talker, sink = "02:51:1e:47:00:01", "02:7a:1c:47:00:02", "02:51:4c:47:00:03"
	port := func(i int) string { return v.portNo(t, n.hosts[i].port).String() }

	send(t, p[1], frame(t, broadcast, sink))
	p[2].Expect(t, waitLimit, func([]byte) bool { return true })
	send(t, p[0], frame(t, sink, talker), frame(t, sink, silent))
	heard, watch := time.Now(), lab.StartStopwatch()
	// From now on the sink and the talker send to each other and to the silent MAC, by flows in the
	// kernel.
	speak := func() {
		send(t, p[0], frame(t, sink, talker))
		send(t, p[1], frame(t, talker, sink), frame(t, silent, sink))
	}
	speak()
	v.toward(t, silent, port(0))
	v.toward(t, talker, port(0))
	missed := v.info(t).Stats.Missed
	var flooded, stalled time.Duration
	for flooded == 0 || time.Since(heard) < 2*aging {
		speak()
		for f := range v.flows(t) {
			switch {
			case strings.HasSuffix(f.eth, "dst="+talker) && f.actions != port(0):
				t.Fatalf("after %v the flow to the talker has actions %s", time.Since(heard), f.actions)
			case strings.HasSuffix(f.eth, "dst="+silent) && f.actions != port(0) && flooded == 0:
				flooded, stalled = time.Since(heard), watch.Stalled()
				t.Logf("flow to the silent MAC has actions %s after %v, stalled for %v of that", f.actions,
					flooded.Round(time.Millisecond), stalled)
			}
		}
		if watch.Elapsed() > waitLimit {
			t.Fatalf("the silent MAC has not aged out after %v", waitLimit)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if now := v.info(t).Stats.Missed; now != missed {
		t.Errorf("missed rose from %d to %d: the talker's packets did not stay in the kernel", missed, now)
	}
	f := frame(t, silent, sink)
	send(t, p[1], f)
	p[0].Expect(t, waitLimit, among(f))
	p[2].Expect(t, waitLimit, among(f))
	stop(t, d)
	// Dumps for MAC aging use at most 2 % of the time, and are slow in a slow guest.
	var pace time.Duration
	for _, e := range d.Events("stats") {
		pace = max(pace, 50*time.Duration(e.Int(t, "revalidator_dump_ms")+1)*time.Millisecond)
	}
	if flooded < aging-50*time.Millisecond || flooded > aging+cycle+pace+slack+stalled {
		t.Errorf("the flow to the silent MAC changed after %v, want %v and at most a cycle and %v more", flooded, aging, pace)
	}
}
