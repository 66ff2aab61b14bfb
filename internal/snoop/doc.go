// Package snoop reads IGMP and MLD, and keeps a table of the multicast groups by VLAN: the
// ports that have members, and the ports that lead to routers.
//
// # Messages
//
// Parse reads one message from an Ethernet frame: IGMP versions 1 to 3 and MLD versions 1 and
// 2. It checks lengths and checksums, the hop limit and source of MLD, and that groups are
// multicast addresses. Sources of groups are not kept: a port is a member if it wants a group
// from any source.
//
// # Flow keys
//
// Classify decides from a flow key how a multicast packet is forwarded, and returns the bits of
// the key that it has read.
//
// # Ownership and threading
//
// A Message borrows the frame that it was parsed from. A Table may be used by several
// goroutines at once. Looking up members takes the read lock of one of its shards, and
// allocates nothing; taking a message takes a lock of the table.
//
// # Sources
//
// RFC 1112, appendix I (IGMPv1), RFC 2236 (IGMPv2), RFC 3376 (IGMPv3), RFC 2710 (MLDv1),
// RFC 3810 (MLDv2), RFC 4541 (what a switch does with them).
package snoop
