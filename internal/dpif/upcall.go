package dpif

import (
	"errors"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// What may be wrong with a message on an upcall socket. Both are counted and
// the message is skipped.
var (
	ErrForeign    = errors.New("not an upcall of this datapath")
	ErrIncomplete = errors.New("upcall without packet or key")
)

// ParseUpcall decodes one datagram of an upcall socket into u, which borrows
// it. family is the id of ovs_packet, dpIndex the datapath's index. Errors
// match netlink.ErrMalformed, ErrForeign or ErrIncomplete. Attributes that it
// does not know are skipped.
func ParseUpcall(datagram []byte, family uint16, dpIndex int32, u *Upcall) error {
	*u = Upcall{}
	h, payload, _, err := netlink.SplitMessage(datagram)
	if err != nil {
		return err
	}
	if h.Type != family {
		return ErrForeign
	}
	r, err := parseReply(payload)
	if err != nil {
		return err
	}
	if r.index != dpIndex {
		return ErrForeign
	}
	switch r.cmd {
	case packetCmdMiss:
		u.Kind = Miss
	case packetCmdAction:
		u.Kind = Action
	default:
		return ErrForeign
	}
	it := netlink.NewAttrs(r.attrs)
	for it.Next() {
		switch it.Type() {
		case packetAttrPacket:
			u.Packet = it.Data()
		case packetAttrKey:
			u.Key = it.Data()
		case packetAttrUserdata:
			u.Userdata = it.Data()
		case packetAttrActions:
			u.Actions = it.Data()
		case packetAttrEgressTunKey:
			u.EgressTunKey = it.Data()
		case packetAttrMRU:
			u.MRU = it.Uint16()
		case packetAttrLen:
			u.Len = it.Uint32()
		case packetAttrHash:
			u.Hash, u.HasHash = it.Uint64(), true
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	if u.Packet == nil || u.Key == nil {
		return ErrIncomplete
	}
	no, err := odp.InPort(u.Key)
	if err != nil {
		return ErrIncomplete
	}
	u.InPort = no
	return nil
}
