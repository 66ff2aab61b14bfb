package odp

import (
	"encoding/binary"
	"fmt"

	"dpifd/internal/netlink"
)

// Errors of keys that forwarding cannot use. They match netlink.ErrMalformed.
var (
	ErrNoInPort   = fmt.Errorf("flow key: no in_port attribute of 4 bytes: %w", netlink.ErrMalformed)
	ErrNoEthernet = fmt.Errorf("flow key: no Ethernet attribute of 12 bytes: %w", netlink.ErrMalformed)
	errVLAN       = fmt.Errorf("flow key: VLAN attribute is not of 2 bytes: %w", netlink.ErrMalformed)
	errEthertype  = fmt.Errorf("flow key: Ethertype attribute is not of 2 bytes: %w", netlink.ErrMalformed)
	errNesting    = fmt.Errorf("flow key: nested too deeply: %w", netlink.ErrMalformed)
)

// ethernetLen is sizeof(struct ovs_key_ethernet): source, then destination.
const ethernetLen = 12

// maxNesting limits nested ENCAP attributes: the kernel parses two VLAN tags (eth.vlan and
// eth.cvlan of struct sw_flow_key, Linux 6.1).
const maxNesting = 2

// Key is the part of a flow key that forwarding reads. It holds no reference
// to the bytes it was parsed from.
type Key struct {
	InPort         PortNo
	EthSrc, EthDst MAC
	// EtherType is the EtherType of the payload after all VLAN tags that the kernel parsed, in
	// host byte order; valid if HasEtherType. 802.2 frames and truncated frames have none. In
	// the key of a dumped flow it is 0 if the flow wildcards it.
	EtherType    uint16
	HasEtherType bool
	// TCI is the TCI of the outer VLAN tag, with the kernel's "present" bit 0x1000, in host
	// byte order; valid if HasVLAN. It is 0 when the tag is truncated.
	TCI     uint16
	HasVLAN bool
	// RecircID is 0 for a packet that was not recirculated; valid if HasRecircID. Kernels before
	// 3.19 send none.
	RecircID    uint32
	HasRecircID bool
}

// ParseKey parses b, a list of OVS_KEY_ATTR_* attributes, into k. Attributes
// that it does not know or need are skipped. A key without in-port or without
// Ethernet addresses is an error, ErrNoInPort or ErrNoEthernet; each error
// matches netlink.ErrMalformed. It does not allocate unless the attribute list
// itself is malformed. After an error k's content is undefined.
func ParseKey(b []byte, k *Key) error {
	var a netlink.AttrTable
	_ = a.Scan(b) // Parse returns the error
	return k.Parse(&a)
}

// Parse is ParseKey for a list with a table. If an attribute appears twice, which the kernel
// does not send, the first counts.
func (k *Key) Parse(a *netlink.AttrTable) error {
	*k = Key{}
	if err := a.Err(); err != nil {
		return err
	}
	port, eth := a.Get(KeyAttrInPort), a.Get(KeyAttrEthernet)
	if len(port) != 4 {
		return ErrNoInPort
	}
	if len(eth) != ethernetLen {
		return ErrNoEthernet
	}
	k.InPort = PortNo(binary.NativeEndian.Uint32(port))
	k.EthSrc, k.EthDst = MAC(eth[:6]), MAC(eth[6:])
	if id := a.Get(KeyAttrRecircID); len(id) == 4 {
		k.RecircID, k.HasRecircID = binary.NativeEndian.Uint32(id), true
	}
	if !a.HasAny(1<<KeyAttrVLAN | 1<<KeyAttrEncap) {
		return k.setEthertype(a.Get(KeyAttrEthertype))
	}
	if err := k.setVLAN(a.Get(KeyAttrVLAN)); err != nil {
		return err
	}
	// The EtherType next to an ENCAP is the tag's; the payload's is inside.
	if inner := a.Get(KeyAttrEncap); inner != nil {
		return k.parseInner(inner, 1)
	}
	return k.setEthertype(a.Get(KeyAttrEthertype))
}

// parseInner sets the EtherType from the attributes after tags.
func (k *Key) parseInner(b []byte, tags int) error {
	if tags > maxNesting {
		return errNesting
	}
	if err := netlink.CheckAttrs(b); err != nil {
		return err
	}
	if inner := netlink.FindAttr(b, KeyAttrEncap); inner != nil {
		return k.parseInner(inner, tags+1)
	}
	return k.setEthertype(netlink.FindAttr(b, KeyAttrEthertype))
}

// setEthertype sets EtherType and HasEtherType from the payload of the attribute,
// nil if there is none.
func (k *Key) setEthertype(typ []byte) error {
	if typ == nil {
		return nil
	}
	if len(typ) != 2 {
		return errEthertype
	}
	k.EtherType, k.HasEtherType = binary.BigEndian.Uint16(typ), true
	return nil
}

// setVLAN sets TCI and HasVLAN from the payload of the VLAN attribute, nil if
// there is none.
func (k *Key) setVLAN(vlan []byte) error {
	if vlan == nil {
		return nil
	}
	if len(vlan) != 2 {
		return errVLAN
	}
	k.TCI, k.HasVLAN = binary.BigEndian.Uint16(vlan), true
	return nil
}

// ParseVLAN sets k's TCI and HasVLAN from the key b, and leaves the rest of k as it is. An
// error matches netlink.ErrMalformed. It stops reading b at the tag.
func ParseVLAN(b []byte, k *Key) error {
	k.TCI, k.HasVLAN = 0, false
	return k.setVLAN(netlink.FindAttr(b, KeyAttrVLAN))
}

// InPort returns the in-port of the key b, or ErrNoInPort. It stops reading b there.
func InPort(b []byte) (PortNo, error) {
	port := netlink.FindAttr(b, KeyAttrInPort)
	if len(port) != 4 {
		return 0, ErrNoInPort
	}
	return PortNo(binary.NativeEndian.Uint32(port)), nil
}
