// Package guard decides whether a port may send a packet. It checks the source MAC and
// addresses against those allowed, and it can refuse packets that only servers and routers
// send. The input is a flow key; the results are a reason and the bits of the key that were
// read.
//
// # What is read
//
// Fields are read in a fixed order, and the next field depends only on the values of those
// before. So the bits read are a mask: all packets of its flow get the same decision, for the
// same reason, with the same mask.
//
// An allowed address is read as far as the prefix that covers it. A refused address is read in
// whole bytes, and a UDP port in half bytes, until no prefix fits. So random sources cause few
// flows, and the number of masks does not depend on the traffic.
//
// # Fragments, extension headers, tags
//
// The kernel's key has the protocol behind IPv6 extension headers. It has the ports and ICMPv6
// type of first fragments, but not of later ones (key_extract of net/openvswitch/flow.c, Linux
// 6.1). Later fragments are checked by their addresses only: no host can use one without its
// first fragment. An IPv6 first fragment that ends before its upper-layer header is refused
// (RFC 7112), and so is fragmented neighbour discovery (RFC 6980): later fragments could hide
// the headers. The key of such a first fragment has protocol 59 (no next header), or an ICMPv6
// type or UDP port of 0 where an extension header claims to be longer than it is. The kernel
// reads two VLAN tags. Hosts skip more of VLAN 0, so a frame with a third one is refused.
//
// # Sources
//
// RFC 5227 (ARP probes), 4861 and 4862 (neighbour discovery), 6105 and 7113
// (router advertisement guard and its evasion), 2131 and 8415 (DHCP ports).
//
// Rules do not change after New. They may be used by several goroutines at once.
package guard
