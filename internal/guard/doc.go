// Package guard decides whether a port may send a packet: by source MAC and
// addresses that are allowed, and by what only servers and routers send. A flow
// key goes in, a reason comes out, and the bits of the key that were read.
//
// # What is read
//
// Fields are read in a fixed order, and what is read next depends on nothing but
// what was read before. So the bits read are a mask: all packets of its flow are
// decided alike, for the same reason, with the same mask.
//
// An address that is allowed is read as far as the prefix that covers it. Of one
// that is refused the leading bits are read which no prefix has, in whole bytes;
// of UDP ports in half bytes. So random sources cause few flows, and the number
// of masks does not depend on the traffic.
//
// # Fragments, extension headers, tags
//
// The kernel's key has the protocol behind IPv6 extension headers, and ports and
// ICMPv6 type of first fragments, but not of later ones (key_extract of
// net/openvswitch/flow.c, Linux 6.1). Later fragments pass by their addresses: no
// host can use one without its first fragment. An IPv6 first fragment that ends
// before its upper-layer header is refused (RFC 7112), and so is fragmented
// neighbour discovery (RFC 6980): what either hides is in later fragments. The key of
// such a first fragment has protocol 59 (no next header), or an ICMPv6 type or UDP
// port of 0 where an extension header claims to be longer than it is. The kernel reads
// two VLAN tags. Hosts skip more of VLAN 0, so a frame with a third one is
// refused.
//
// # Sources
//
// RFC 5227 (ARP probes), 4861 and 4862 (neighbour discovery), 6105 and 7113
// (router advertisement guard and its evasion), 2131 and 8415 (DHCP ports).
//
// Rules do not change after New. They may be used by several goroutines at once.
package guard
