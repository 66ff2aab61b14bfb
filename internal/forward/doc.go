// Package forward holds the forwarding policies: Learning, a MAC-learning
// switch; Flood, which sends everything everywhere; Drop, which sends nothing.
// Each is a policy.Policy: an upcall goes in, a verdict comes out. There is no
// input or output here, and no log: what happened is in the verdict's Reason
// and in Stats.
//
// # Masks
//
// A verdict's mask has a one in each bit that the decision read and no other,
// so that one kernel flow covers all packets that get the same decision for
// the same reason. Two rules keep that sound:
//
//   - The masks of the learning policy partition the packets of a port: two of
//     its flows that were decided with the same MAC table never overlap.
//   - A flow's key as the kernel dumps it has zeros where the mask has. Deciding
//     on that key gives the same decision and the same mask as deciding on any
//     packet of the flow. Redecide depends on it.
//
// The tables in Learning's methods say which bits are read and why.
//
// # VLANs
//
// A frame belongs to a VLAN by its outer tag and its port's settings, as in Open
// vSwitch's NORMAL action; egress.go has the rules. The kernel matches the TCI
// of a frame, or its absence, in any flow, so masks do not name it. Nothing
// reads the TPID: tags that stay, stay as they are, and tags that are added
// have 0x8100.
//
// # Tunnels
//
// A tunnel is a port of the switch, but not of the datapath, which has a port
// for its device only. Each has a number beyond the datapath's. A packet's
// tunnel is found from the tunnel attribute of its key, before anything else
// is decided, and stands in the key's in-port from then on.
//
// # Ownership and threading
//
// Decide and Redecide are safe for concurrent use and allocate nothing. Ports
// are an immutable snapshot behind an atomic pointer. The MAC table takes a
// shard's read lock to look up or refresh a MAC, and one mutex to learn, move
// or forget one; only SetPorts, Stats and Snapshot hold the mutex for more than a
// few entries. Nothing here starts a goroutine. No policy keeps a reference to what it is given.
//
// A policy knows no ports until SetPorts: before, it forwards nothing and learns
// nothing, so SetPorts has to come before Observe when flows are adopted.
//
// # Generations
//
// Decide reads the MAC table before its flow reaches the kernel. A change in
// between grows the generation, but a dump begun in between does not see the
// flow. Whoever re-decides flows has to look at such a late flow once more
// after the dump that the new generation caused.
//
// # Sources
//
// IEEE 802.1D-2004, 7.8 and 7.9 (learning and filtering database) and 7.12.6
// (reserved addresses); the limits and the choice of what to evict are those of
// Open vSwitch, lib/mac-learning.c of 3.1.
package forward
