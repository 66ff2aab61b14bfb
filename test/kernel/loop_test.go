//go:build lab

package kernel_test

import (
	"testing"
	"time"

	"dpifd/internal/lab"
)

// patched is a network with a loop: a cable between two ports of the switch. The storm ends with
// the test.
type patched struct {
	*network
	ends [2]string
}

func newPatched(t *testing.T) *patched {
	t.Helper()
	p := &patched{newQuietNetwork(t, 2), [2]string{lab.Name("loop"), lab.Name("loop")}}
	lab.Veth(t, lab.End{NS: p.sw, Name: p.ends[0]}, lab.End{NS: p.sw, Name: p.ends[1]})
	return p
}

// ports is the list of ports for the configuration: the hosts' ports and both ends of the cable.
// ends are the settings of the latter in YAML, "" for none.
func (p *patched) ports(ends string) string {
	list := ""
	for _, h := range p.hosts {
		list += "{name: " + h.port + "}, "
	}
	for _, end := range p.ends {
		list += "{name: " + end + ends + "}, "
	}
	return "[" + list + "]"
}

// TestFlappingInLoop sends one broadcast into a loop, which must be logged. The test logs the
// delay.
func TestFlappingInLoop(t *testing.T) {
	p := newPatched(t)
	d := p.run(t, settings{"ports": p.ports("")})
	sock := p.sockets(t)
	const station = "02:5c:00:00:00:77"
	since := time.Now()
	send(t, sock[0], lab.Frame(t, broadcast, station, 0x0806, make([]byte, 28)))
	e := d.Wait(t, since, "mac_flapping", nil)
	t.Logf("after %v: %v", e.Time.Sub(since), e.Fields)
	if e.Text("mac") != station || e.Int(t, "moves") < 3 {
		t.Errorf("mac_flapping: %v", e.Fields)
	}
	p.sw.DeleteLink(t, p.ends[0])
	v := p.view(t)
	before := v.info(t).Stats
	d.Wait(t, time.Now(), "stats", nil)
	after := v.info(t).Stats
	t.Logf("hits: %d in the loop, %d once it is cut", before.Hit, after.Hit-before.Hit)
}

// hitCount returns the number of packets that matched flows of the datapath.
func (v view) hitCount(t *testing.T) uint64 { return v.info(t).Stats.Hit }

// TestLoopGuardBlock: a returned probe blocks the port, which ends the storm; if the loop still
// exists when the port is opened, it is blocked for twice the time. The test logs the delay.
func TestLoopGuardBlock(t *testing.T) {
	p := newPatched(t)
	d := p.run(t, settings{"ports": p.ports(", loop_guard: block"), "flows": "{max_idle: 10m}"})
	v := p.view(t)
	sock := p.sockets(t)
	younger := p.ends[0]
	if v.portNo(t, p.ends[1]) > v.portNo(t, younger) {
		younger = p.ends[1]
	}
	since := time.Now()
	send(t, sock[0], lab.Frame(t, broadcast, "02:5c:00:00:00:78", 0x0806, make([]byte, 28)))
	e := d.Wait(t, time.Time{}, "port_blocked", nil)
	calm := func() {
		t.Helper()
		eventually(t, waitLimit, "the storm has ended", func() bool {
			before := v.hitCount(t)
			time.Sleep(100 * time.Millisecond)
			return v.hitCount(t) == before
		})
	}
	calm()
	talk := func() { // with new sockets: the queues of the others are full of the storm
		t.Helper()
		sock := p.sockets(t)
		exchange(t, sock[0], sock[1])
	}
	t.Logf("port_blocked after %v, calm after %v, %d hits", e.Time.Sub(since), time.Since(since), v.hitCount(t))
	if e.Text("port") != younger || e.Int(t, "for_ms") != 10_000 {
		t.Errorf("port_blocked: %v, want %s", e.Fields, younger)
	}
	if e := d.Wait(t, time.Time{}, "loop_detected", nil); e.Text("port") == e.Text("back_port") {
		t.Errorf("loop_detected: %v", e.Fields)
	}
	talk()

	since = time.Now()
	opened := d.Wait(t, since, "port_unblocked", nil)
	if opened.Text("port") != younger {
		t.Errorf("port_unblocked: %v", opened.Fields)
	}
	again := d.Wait(t, opened.Time, "port_blocked", nil)
	if again.Text("port") != younger || again.Int(t, "for_ms") != 20_000 {
		t.Errorf("port_blocked for the second time: %v", again.Fields)
	}
	calm()

	// A reload without the setting unblocks the port immediately.
	p.sw.SetLink(t, p.ends[0], false)
	since = reload(t, d, p.config(settings{"ports": p.ports("")}))
	if e := d.Wait(t, since, "port_unblocked", nil); e.Text("port") != younger {
		t.Errorf("port_unblocked by a reload: %v", e.Fields)
	}
	talk()
}

// TestLoopGuardLog: probes return although flows match all other packets, and no port is blocked.
// Probes use the VLAN that a port carries and reach no host.
func TestLoopGuardLog(t *testing.T) {
	p := newPatched(t)
	d := p.run(t, settings{"ports": p.ports(", vlan: {trunk: [30]}"), "loop_guard": "log", "policy": "{type: flood}",
		"flows": "{max_idle: 10m}"})
	sock := p.sockets(t)
	first := d.Wait(t, time.Time{}, "loop_detected", nil)
	if first.Int(t, "vlan") != 30 {
		t.Errorf("loop_detected: %v", first.Fields)
	}
	send(t, sock[0], frame(t, broadcast, "02:5c:00:00:00:79")) // creates flows of VLAN 0
	inner := tagged(t, 30, broadcast, "02:5c:00:00:00:7a")
	send(t, sock[1], inner) // circles in VLAN 30
	v := p.view(t)
	eventually(t, waitLimit, "a storm", func() bool { return v.hitCount(t) > 1000 })
	again := d.Wait(t, time.Now(), "loop_detected", nil)
	t.Logf("%v, and after %d hits %v", first.Fields, v.hitCount(t), again.Fields)
	if e := d.Events("port_blocked"); len(e) > 0 {
		t.Errorf("port_blocked: %v", e)
	}
}
