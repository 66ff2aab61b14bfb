package forward

import "dpifd/internal/netlink"

// mirrors returns the names of the mirror ports.
func (c PortConfigs) mirrors() map[string]bool {
	var all map[string]bool
	for _, p := range c {
		if p.MirrorTo == "" {
			continue
		}
		if all == nil {
			all = map[string]bool{}
		}
		all[p.MirrorTo] = true
	}
	return all
}

// mirror makes the mirrored ports of s send copies to their mirror ports in s. to maps each
// port's name to its mirror's name.
func (s *portSet) mirror(to map[string]string) {
	byName := make(map[string]*port, len(s.ports))
	for i := range s.ports {
		byName[s.ports[i].name] = &s.ports[i]
	}
	for name, target := range to {
		p, sink := byName[name], byName[target]
		if p == nil || sink == nil {
			continue
		}
		p.copy = sink.output
		p.output = append(p.output, sink.output...)
		if p.withTOS != nil {
			p.withTOS = append(p.withTOS, sink.output...)
		}
	}
}

// received appends the actions that send a copy of the received frame f to the mirror of its
// in-port.
func (f *frame) received(e *netlink.Encoder) {
	if f.in != nil {
		e.Raw(f.in.copy...)
	}
}
