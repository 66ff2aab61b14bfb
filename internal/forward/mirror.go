package forward

import "dpifd/internal/netlink"

// mirrors returns the names of the ports that others are mirrored to.
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

// mirror has the ports of s that are mirrored to others that are in s send
// copies there. to holds the mirror of each by its name.
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

// received appends what sends a copy of f, as it came, to the mirror of its
// in-port.
func (f *frame) received(e *netlink.Encoder) {
	if f.in != nil {
		e.Raw(f.in.copy...)
	}
}
