// Package loopguard finds loops by probes: frames that a daemon sends out of its ports, and
// that come back through one of them only if there is a loop.
//
// Guard is the part on the packet path: it recognizes its own probes among upcalls, and
// prevents that flows match them. Ports decides what happens to a port through which a probe
// came back. The caller sends the probes, and blocks ports.
//
// # The probe
//
// An Ethernet frame of 60 bytes, or 64 with a VLAN tag; numbers are in network byte order:
//
//	 0  6  destination 03:64:70:69:66:64, a multicast address of local scope
//	 6  6  source, a random address of local scope, of one process
//	       here the VLAN tag (0x8100), where the port carries the VLAN with one
//	12  2  EtherType 0x88b5, local experimental (IEEE 802, 9.2.3)
//	14  4  "dpLG"
//	18  1  version, 1
//	19  1  0
//	20  2  VLAN id of the tag, 0 for none
//	22  8  daemon id, random, of one process
//	30  4  number of the port in the datapath
//	34  8  round: 1, 2, 3, ...
//	42 16  the first bytes of SHA-256 over a secret of the process and bytes 14 to 41
//	58  2  0
//
// Because of the hash nobody else can create probes. A probe that is replayed within a few
// rounds looks like a loop; it can block the port through which it came in, or the one to which
// it was sent.
//
// # Threading
//
// Decide and Narrow are safe for concurrent use, allocate nothing and take no lock. A
// Ports belongs to one goroutine.
package loopguard
