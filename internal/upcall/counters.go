package upcall

import (
	"sync/atomic"

	"dpifd/internal/netlink"
)

// counts are the handlers' counters of a port's upcalls.
type counts struct {
	upcalls, bytes, actionUpcalls                      atomic.Uint64
	executed, dropped, executeRefused                  atomic.Uint64
	flowsPut, flowsPrimed, flowsExisting, flowsRefused atomic.Uint64
	flowsOverLimit                                     atomic.Uint64
	decodeErrors, receiveErrors, foreign, policyErrors atomic.Uint64
	shed                                               atomic.Uint64
}

// PortCounters are the counters of one port's upcalls since it was attached.
type PortCounters struct {
	Upcalls        uint64 // received and decoded
	Bytes          uint64 // packet bytes of these
	ActionUpcalls  uint64 // of these, from a flow's userspace action; not forwarded
	Executed       uint64 // packets returned to the kernel
	Dropped        uint64 // packets that the policy dropped
	Spoofed        uint64 // packets dropped because the port may not send them, including by flows
	ExecuteRefused uint64 // packets that the kernel refused: lost
	FlowsPut       uint64 // flows requested
	FlowsPrimed    uint64 // of these, flows of packets that are still expected
	FlowsExisting  uint64 // of these, flows that existed already
	FlowsRefused   uint64 // of these, flows that the kernel refused
	FlowsOverLimit uint64 // flows not requested because of the flow limit
	DecodeErrors   uint64 // messages that could not be decoded: lost
	ReceiveErrors  uint64 // failed receive calls, without overflows
	Foreign        uint64 // messages that were not upcalls of this datapath
	PolicyErrors   uint64 // packets that the policy could not decide: lost
	Shed           uint64 // messages over the port's limit, not decoded: lost
	SocketDrops    uint64 // messages that the kernel could not queue: lost
	RingDrops      uint64 // of these, those for which a ring had no frame
	Socket         netlink.Counters
}

// Lost returns the number of packets that were, or should have been, upcalls and were not
// forwarded.
func (p *PortCounters) Lost() uint64 {
	return p.SocketDrops + p.Undecodable() + p.ExecuteRefused + p.PolicyErrors + p.ActionUpcalls + p.Shed
}

// Undecodable returns the number of received messages that could not be decoded.
func (p *PortCounters) Undecodable() uint64 {
	return p.DecodeErrors + p.Socket.Truncated + p.Socket.Malformed + p.Socket.Oversized + p.Socket.UnknownStatus
}

// Add adds another port's counters.
func (p *PortCounters) Add(q PortCounters) {
	p.Upcalls += q.Upcalls
	p.Bytes += q.Bytes
	p.ActionUpcalls += q.ActionUpcalls
	p.Executed += q.Executed
	p.Dropped += q.Dropped
	p.Spoofed += q.Spoofed
	p.ExecuteRefused += q.ExecuteRefused
	p.FlowsPut += q.FlowsPut
	p.FlowsPrimed += q.FlowsPrimed
	p.FlowsExisting += q.FlowsExisting
	p.FlowsRefused += q.FlowsRefused
	p.FlowsOverLimit += q.FlowsOverLimit
	p.DecodeErrors += q.DecodeErrors
	p.ReceiveErrors += q.ReceiveErrors
	p.Foreign += q.Foreign
	p.PolicyErrors += q.PolicyErrors
	p.Shed += q.Shed
	p.SocketDrops += q.SocketDrops
	p.RingDrops += q.RingDrops
	p.Socket.Add(q.Socket)
}
