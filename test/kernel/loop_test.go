//go:build lab

package kernel_test

import (
	"testing"
	"time"

	"dpifd/internal/lab"
)

// patched is a network with a loop: a cable between two of the switch's ports. The
// storm ends when the test does.
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

// ports is the configuration's list: the hosts' ports and both ends of the cable, these with
// settings in YAML, "" for none.
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

// TestFlappingInLoop: one broadcast into a loop, and the log tells of it. The test logs how soon.
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
