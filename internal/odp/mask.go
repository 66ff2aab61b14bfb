package odp

import "dpifd/internal/netlink"

// space says how the attributes of a list are numbered and read.
type space uint8

const (
	keySpace    space = iota // OVS_KEY_ATTR_*
	nestedSpace              // of a tunnel or NSH: plain values
)

// nested reports whether attribute t of the space holds attributes, and of
// which space. Attributes that OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS and its like
// nest are one at most, so that comparing their bytes does.
func (s space) nested(t uint16) (space, bool) {
	if s != keySpace {
		return 0, false
	}
	switch t {
	case KeyAttrEncap:
		return keySpace, true
	case KeyAttrTunnel, KeyAttrNSH:
		return nestedSpace, true
	}
	return 0, false
}

// alwaysExact reports whether the kernel matches attribute t exactly though a
// dumped mask may not show it.
func (s space) alwaysExact(t uint16) bool {
	return s == keySpace && (t == KeyAttrInPort || t == KeyAttrVLAN)
}

// isFlag reports whether the attribute with payload b says what it says by its
// presence.
func (s space) isFlag(b []byte) bool { return s == nestedSpace && len(b) == 0 }

// at returns b[i], 0 behind b's end.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// MaskCovers reports whether each bit set in the mask need is set in the mask
// have too, which is how the kernel dumped it: with attributes that need does
// not name, and those behind a VLAN tag nested in ENCAP. Flows with mask have
// are then narrow enough for a decision that read need.
//
// An attribute that have lacks counts as zero, but for the in-port and the TCI,
// which count as exact; present ones are compared like any. An error matches
// netlink.ErrMalformed; only then does it allocate.
func MaskCovers(have, need []byte) (bool, error) {
	if err := netlink.CheckAttrs(have); err != nil {
		return false, err
	}
	return covers(have, need, keySpace, 0)
}

func covers(have, need []byte, s space, depth int) (bool, error) {
	if depth > maxNesting {
		return false, errNesting
	}
	it := netlink.NewAttrs(need)
	for it.Next() {
		h, n := netlink.FindAttr(have, it.Type()), it.Data()
		if h == nil && s.alwaysExact(it.Type()) {
			continue
		}
		if inner, is := s.nested(it.Type()); is {
			if ok, err := covers(h, n, inner, depth+1); !ok || err != nil {
				return false, err
			}
			continue
		}
		if s.isFlag(n) && h == nil {
			return false, nil
		}
		for i, bits := range n {
			if bits&^at(h, i) != 0 {
				return false, nil
			}
		}
	}
	return it.Err() == nil, it.Err()
}
