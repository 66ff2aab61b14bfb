// Package odp implements the flow keys and actions of the kernel's openvswitch headers:
// attribute numbers, types, the codec of the parts that dpifd uses, and the text format of
// ovs-dpctl (Text).
//
// # Protocol
//
// A key is a list of netlink attributes OVS_KEY_ATTR_*; a mask has the same shape with a one in
// each bit that a flow matches; actions are a list of OVS_ACTION_ATTR_*. After a VLAN tag the
// rest of a key is nested in OVS_KEY_ATTR_ENCAP. Numbers inside the attributes are in host byte
// order unless the packet carries them, as EtherType and TCI, which are big endian.
//
// # What the kernel adds to a mask
//
// Linux 6.1, net/openvswitch/flow_netlink.c: OVS_KEY_ATTR_IN_PORT in a mask makes the in-port
// exact, whatever its bits (metadata_from_nlattrs). A mask without that attribute wildcards the
// in-port. The TCI of both VLAN tags, or their absence, is always matched (ovs_nla_get_match).
// MaskCovers and MaskedHasher follow these rules.
//
// The key of a flow that the kernel dumps is the masked one: wildcarded bits
// are zero in it.
//
// # Text
//
// Text writes attributes for people and reads what they write; docs/ODP.md has the syntax. It
// is table-driven: a layout describes the syntax of a structure, a nested that of an attribute
// with attributes inside, and keyTable and actionTable give each attribute its name and syntax.
// Attributes that are not in the tables are written in hexadecimal and can be read back.
//
// # Ownership and threading
//
// Functions borrow the slices they are given for the duration of the call. The only state is
// the seed of a MaskedHasher, which does not change, so everything may be used by several
// goroutines.
//
// # Sources
//
// linux/openvswitch.h of Linux 6.1 and 6.12, net/openvswitch/flow_netlink.c of
// Linux 4.1 and 6.1. The syntax is that of ovs-dpctl 3.1, from tests/odp.at of
// Open vSwitch and the program's own output.
package odp
