package dpif

import (
	"encoding/binary"
	"errors"
	"fmt"

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
	u.clear()
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
	for rest := r.attrs; len(rest) > 0; {
		t, data, next := netlink.CutAttr(rest)
		size := len(data) // that it is to have
		switch t {
		case packetAttrPacket:
			u.Packet = data
		case packetAttrKey:
			u.Key = data
		case packetAttrUserdata:
			u.Userdata = data
		case packetAttrActions:
			u.Actions = data
		case packetAttrEgressTunKey:
			u.EgressTunKey = data
		case packetAttrMRU:
			if size = 2; len(data) == size {
				u.MRU = binary.NativeEndian.Uint16(data)
			}
		case packetAttrLen:
			if size = 4; len(data) == size {
				u.Len = binary.NativeEndian.Uint32(data)
			}
		case packetAttrHash:
			if size = 8; len(data) == size {
				u.Hash, u.HasHash = binary.NativeEndian.Uint64(data), true
			}
		case netlink.NoAttr:
			return netlink.CheckAttrs(r.attrs)
		}
		if len(data) != size {
			return fmt.Errorf("packet attribute %d of %d bytes, want %d: %w", t, len(data), size, netlink.ErrMalformed)
		}
		rest = next
	}
	if u.Packet == nil || u.Key == nil {
		return ErrIncomplete
	}
	_ = u.fields.Scan(u.Key) // who reads a field further on finds the fault
	port := u.fields.Get(odp.KeyAttrInPort)
	if len(port) != 4 {
		return ErrIncomplete
	}
	u.InPort = odp.PortNo(binary.NativeEndian.Uint32(port))
	return nil
}
