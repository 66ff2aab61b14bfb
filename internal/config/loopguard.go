package config

import (
	"errors"
	"fmt"
	"slices"
)

// LoopGuard is the protection against loops at a port.
type LoopGuard string

// LoopGuardOff sends no probes. LoopGuardLog sends them and reports those that come back.
// LoopGuardBlock also blocks a port.
const (
	LoopGuardOff   LoopGuard = "off"
	LoopGuardLog   LoopGuard = "log"
	LoopGuardBlock LoopGuard = "block"
)

func (LoopGuard) Values() []string { return strs(LoopGuardOff, LoopGuardLog, LoopGuardBlock) }

// guards reports whether probes are sent.
func (g LoopGuard) guards() bool { return g == LoopGuardLog || g == LoopGuardBlock }

// GuardsLoops reports whether any port may send probes.
func (c *Config) GuardsLoops() bool {
	return c.LoopGuard.guards() || slices.ContainsFunc(c.Ports, func(p Port) bool { return p.LoopGuard.guards() })
}

// loopGuards checks that ports with loop_guard can send probes, and get them.
func (d *decoder) loopGuards(ports []Port) {
	for i, p := range ports {
		if !p.LoopGuard.guards() {
			continue
		}
		path := fmt.Sprintf("ports[%d].loop_guard", i)
		switch {
		case p.Type.IsTunnel():
			d.check(errors.New("is not for tunnels: set it at the peer's other ports"), path)
		case slices.ContainsFunc(ports, func(q Port) bool { return q.MirrorTo == p.Name && p.Name != "" }):
			d.check(fmt.Errorf("port %q is a mirror, which forwards nothing", p.Name), path)
		}
	}
}
