package forward

import (
	"encoding/binary"
	"slices"

	"dpifd/internal/netlink"
)

// domain is the broadcast domain of one VLAN, or of several VLANs with the same members and
// tagging.
type domain struct {
	tagged, untagged members // by whether the VLAN leaves the port tagged
}

// members are some ports of a set, and the actions that output a frame to all of them.
type members struct {
	inherit bool    // a member inherits the TOS
	index   []int32 // of portSet.ports, ascending
	at      []int32 // offsets of each member's actions, and their end
	output  []byte
}

func (m *members) add(s *portSet, i int) {
	if m.at == nil {
		m.at = []int32{0}
	}
	m.index = append(m.index, int32(i))
	m.inherit = m.inherit || s.ports[i].withTOS != nil
	m.output = append(m.output, s.ports[i].output...)
	m.at = append(m.at, int32(len(m.output)))
}

// divide finds the domains. All VLANs between two neighbouring edges are alike, so it checks
// one VLAN of each range.
func (s *portSet) divide(edges []uint16) {
	slices.Sort(edges)
	edges = slices.Compact(edges)
	byMembers := map[string]uint16{}
	var id []byte
	for n, first := range edges {
		if first >= vlanIDs {
			break
		}
		var d domain
		id = id[:0]
		for i := range s.ports {
			p := &s.ports[i]
			if !p.carries(first) {
				continue
			}
			m, how := &d.untagged, uint32(0)
			if p.tags(first) {
				m, how = &d.tagged, 1
			}
			m.add(s, i)
			id = binary.NativeEndian.AppendUint32(id, uint32(i)<<1|how)
		}
		number, known := byMembers[string(id)]
		if !known {
			number = uint16(len(s.domains))
			byMembers[string(id)] = number
			s.domains = append(s.domains, d)
		}
		end := vlanIDs
		if n+1 < len(edges) {
			end = min(end, int(edges[n+1]))
		}
		for vlan := int(first); vlan < end; vlan++ {
			s.domainOf[vlan] = number
		}
	}
}

func (s *portSet) domain(vlan uint16) *domain {
	return &s.domains[s.domainOf[vlan]]
}

// count returns the number of members that a frame from in reaches; in is nil for a port that
// is not in the set.
func (m *members) count(s *portSet, in *port) int {
	if in == nil {
		return len(m.index)
	}
	n := 0
	if in.isolation == 0 {
		n = len(m.index)
		if _, is := m.find(s, in); is && !in.hairpin {
			n--
		}
		return n
	}
	for _, i := range m.index {
		if in.reaches(&s.ports[i]) {
			n++
		}
	}
	return n
}

// find returns the index of a port among the members.
func (m *members) find(s *portSet, p *port) (int, bool) {
	if len(m.index) == len(s.ports) {
		return p.place, true // if all ports are members, it is the index in the set
	}
	return slices.BinarySearchFunc(m.index, p, func(i int32, p *port) int { return int(s.ports[i].no) - int(p.no) })
}

// send appends the actions that send f to the members that it reaches.
func (m *members) send(s *portSet, f *frame, e *netlink.Encoder) {
	in := f.in
	switch {
	case m.inherit && f.tos != 0:
		for _, i := range m.index {
			if in == nil || in.reaches(&s.ports[i]) {
				s.ports[i].send(e, f.tos)
			}
		}
	case in == nil:
		e.Raw(m.output...)
	case in.isolation == 0:
		i, is := m.find(s, in)
		if !is || in.hairpin {
			e.Raw(m.output...)
			return
		}
		e.Raw(m.output[:m.at[i]]...)
		e.Raw(m.output[m.at[i+1]:]...)
	default:
		for n, i := range m.index {
			if in.reaches(&s.ports[i]) {
				e.Raw(m.output[m.at[n]:m.at[n+1]]...)
			}
		}
	}
}
