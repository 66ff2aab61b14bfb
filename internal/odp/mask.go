package odp

import "dpifd/internal/netlink"

// space is how the attributes of a list are numbered and read.
type space uint8

const (
	keySpace    space = iota // OVS_KEY_ATTR_*
	nestedSpace              // of a tunnel or NSH: plain values
)

// nested reports whether attribute t of the space contains attributes, and of which space.
// OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS and similar attributes contain at most one attribute, so
// comparing their bytes is sufficient.
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

// alwaysExact reports whether the kernel matches attribute t exactly although a dumped mask may
// not show it.
func (s space) alwaysExact(t uint16) bool {
	return s == keySpace && (t == KeyAttrInPort || t == KeyAttrVLAN)
}

// isFlag reports whether the attribute with payload b is a flag: only its presence matters.
func (s space) isFlag(b []byte) bool { return s == nestedSpace && len(b) == 0 }

// at returns b[i], 0 behind b's end.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// MaskCovers reports whether each bit of the mask need is also set in the mask have. have is as
// the kernel dumped it: it may have attributes that need does not name, and those after a VLAN
// tag are nested in ENCAP. If it covers need, a flow with mask have is narrow enough for a
// decision that read need.
//
// An attribute that have lacks counts as zero, except the in-port and the TCI, which count as
// exact. An error matches netlink.ErrMalformed; only then MaskCovers allocates.
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
