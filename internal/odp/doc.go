// Package odp holds what the kernel's openvswitch headers call flow keys and
// actions: attribute numbers, types, the codec of the parts that dpifd reads
// and writes, and the text in which ovs-dpctl shows them (Text).
//
// # Protocol
//
// A key is a list of netlink attributes OVS_KEY_ATTR_*; a mask has the same
// shape with a one in each bit that a flow matches; actions are a list of
// OVS_ACTION_ATTR_*. Behind a VLAN tag the rest of a key is nested in
// OVS_KEY_ATTR_ENCAP. Numbers inside the attributes are in host byte order
// unless the packet carries them, as EtherType and TCI, which are big endian.
//
// # What the kernel adds to a mask
//
// Linux 6.1, net/openvswitch/flow_netlink.c: any OVS_KEY_ATTR_IN_PORT in a
// mask makes the in-port exact whatever its bits (metadata_from_nlattrs), and
// a mask without that attribute wildcards the in-port. The TCI of both VLAN
// tags, or their absence, is always matched (ovs_nla_get_match). MaskCovers
// and MaskedHasher follow these rules.
//
// The key of a flow that the kernel dumps is the masked one: wildcarded bits
// are zero in it.
//
// # Text
//
// Text writes attributes for people and reads what they write; docs/ODP.md has
// the syntax. It is table-driven: a layout says how a structure is written, a
// nested how an attribute that holds others is, and keyTable and actionTable
// which attribute has which name and syntax. What the tables lack is written in
// hexadecimal and survives being read again.
//
// # Ownership and threading
//
// Functions borrow the slices they are given for the duration of the call.
// Nothing here has state, but for MaskedHasher's seeds, which do not change, so
// all of it may be used by several goroutines at once.
//
// # Sources
//
// linux/openvswitch.h of Linux 6.1 and 6.12, net/openvswitch/flow_netlink.c of
// Linux 4.1 and 6.1. The syntax is that of ovs-dpctl 3.1, from tests/odp.at of
// Open vSwitch and the program's own output.
package odp
