// Package forward contains the forwarding policies: Learning, a MAC-learning switch; Flood, which
// sends every packet to all ports; Drop, which sends nothing. Each is a policy.Policy that takes an
// upcall and returns a verdict. The package does no I/O and no logging; the verdict's Reason and
// Stats describe what happened.
//
// # Masks
//
// A verdict's mask has a one in each bit that the decision read and no other, so that one
// kernel flow covers all packets with the same decision for the same reason. Two rules make
// this correct:
//
//   - The masks of the learning policy partition the packets of a port: two of
//     its flows that were decided with the same MAC table never overlap.
//   - The key of a dumped flow has zeros where its mask has zeros. Deciding on that key gives
//     the same decision and the same mask as deciding on any packet of the flow. Redecide
//     depends on this.
//
// The tables in Learning's methods say which bits are read and why.
//
// If a port has rules for what it may send, or multicast is snooped, a decision reads more:
// guard.Rules and snoop.Classify follow both rules too, and their bits are added to the mask.
//
// # VLANs
//
// A frame belongs to a VLAN by its outer tag and its port's settings, as in Open vSwitch's
// NORMAL action; egress.go has the rules. The kernel always matches the TCI of a frame, or its
// absence, so masks do not name it. Decisions do not read the TPID: existing tags keep theirs,
// and added tags have 0x8100.
//
// # Tunnels
//
// A tunnel is a port of the switch, but not of the datapath, which only has a port for its
// device. Each tunnel has a number above those of the datapath. The tunnel of a packet is found
// first, from the tunnel attribute of its key, and replaces the key's in-port.
//
// # Ownership and threading
//
// Decide and Redecide are safe for concurrent use and allocate nothing. Ports are an immutable
// snapshot behind an atomic pointer. The MAC table takes a shard's read lock to look up or
// refresh a MAC, and one mutex to learn, move or remove one; only SetPorts, Stats and Snapshot
// hold the mutex for more than a few entries. The package starts no goroutine. Policies keep no
// reference to their arguments.
//
// Before SetPorts a policy knows no ports, forwards nothing and learns nothing. Therefore call
// SetPorts before Observe when flows are adopted.
//
// # Generations
//
// Decide reads the MAC table before its flow reaches the kernel. A change in between increases
// the generation, but a dump that starts in between does not see the flow. After the dump for
// the new generation, the caller must check such late flows once more.
//
// # Sources
//
// IEEE 802.1D-2004, 7.8 and 7.9 (learning and filtering database) and 7.12.6 (reserved addresses).
// The limits and the choice of the entry to evict are those of Open vSwitch, lib/mac-learning.c of
// 3.1.
package forward
