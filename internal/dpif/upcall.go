package dpif

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Kind is why the kernel sent an upcall.
type Kind uint8

const (
	// Miss is OVS_PACKET_CMD_MISS: no flow matched the packet.
	Miss Kind = iota + 1
	// Action is OVS_PACKET_CMD_ACTION: a flow's userspace action sent it.
	Action
)

func (k Kind) String() string {
	switch k {
	case Miss:
		return "miss"
	case Action:
		return "action"
	default:
		return "unknown"
	}
}

// Upcall is one packet that the kernel sent to userspace. All its slices are borrowed from the
// receive buffer or ring frame: they are valid until its batch is released, which is after
// Policy.Decide has returned and the verdict was sent. They must not be kept or modified.
type Upcall struct {
	Kind   Kind
	InPort odp.PortNo
	// Key is the payload of OVS_PACKET_ATTR_KEY: OVS_KEY_ATTR_* attributes.
	Key []byte
	// Packet is the frame, including its Ethernet header.
	Packet []byte
	// Userdata and Actions are those of the flow's userspace action, for Action upcalls;
	// EgressTunKey holds OVS_TUNNEL_KEY_ATTR_* attributes.
	Userdata, Actions, EgressTunKey []byte
	// MRU is the largest fragment's size in bytes, 0 unless the kernel reassembled the packet. It
	// is returned with the packet.
	MRU uint16
	// Len is the packet's size in bytes before truncation, 0 if it was not truncated.
	Len uint32
	// Hash is the kernel's packet hash, valid if HasHash. It is returned with the packet.
	Hash    uint64
	HasHash bool

	fields netlink.AttrTable
}

// Fields returns the table of Key, which ParseUpcall has built. It is valid as long as Key.
func (u *Upcall) Fields() *netlink.AttrTable {
	if !u.fields.Of(u.Key) {
		_ = u.fields.Scan(u.Key) // the table keeps the error
	}
	return &u.fields
}

// clear empties u, except the table of its previous key, which the next Scan replaces.
func (u *Upcall) clear() {
	u.Kind, u.InPort, u.Key, u.Packet = 0, 0, nil, nil
	u.Userdata, u.Actions, u.EgressTunKey = nil, nil, nil
	u.MRU, u.Len, u.Hash, u.HasHash = 0, 0, 0, false
}

// Errors of a message on an upcall socket. Both are counted, and the message is skipped.
var (
	ErrForeign    = errors.New("not an upcall of this datapath")
	ErrIncomplete = errors.New("upcall without packet or key")
)

// ParseUpcall decodes one datagram of an upcall socket into u, which borrows it. family is the
// id of ovs_packet, dpIndex the datapath's index. Errors match netlink.ErrMalformed, ErrForeign
// or ErrIncomplete. Unknown attributes are skipped.
func ParseUpcall(datagram []byte, family uint16, dpIndex int32, u *Upcall) error {
	u.clear()
	if len(datagram) < upcallHeaders {
		return upcallFault(datagram, family)
	}
	h := (*[upcallHeaders]byte)(datagram)
	length := uint64(binary.NativeEndian.Uint32(h[:]))
	if length < upcallHeaders || length > uint64(len(datagram)) || binary.NativeEndian.Uint16(h[4:]) != family ||
		binary.NativeEndian.Uint32(h[upcallHeaders-ovsHeaderLen:]) != uint32(dpIndex) {
		return upcallFault(datagram, family)
	}
	attrs := datagram[upcallHeaders:length:length]
	switch h[upcallHeaders-headersLen] {
	case packetCmdMiss:
		u.Kind = Miss
	case packetCmdAction:
		u.Kind = Action
	default:
		return ErrForeign
	}
	for at := 0; at < len(attrs); {
		t, from, to, next := netlink.AttrAt(attrs, at)
		data := attrs[from:to:to]
		size := len(data) // expected size
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
			return netlink.CheckAttrs(attrs)
		}
		if len(data) != size {
			return fmt.Errorf("packet attribute %d of %d bytes, want %d: %w", t, len(data), size, netlink.ErrMalformed)
		}
		at = next
	}
	if u.Packet == nil || u.Key == nil {
		return ErrIncomplete
	}
	_ = u.fields.Scan(u.Key) // a later look-up returns the error
	port := u.fields.Get(odp.KeyAttrInPort)
	if len(port) != 4 {
		return ErrIncomplete
	}
	u.InPort = odp.PortNo(binary.NativeEndian.Uint32(port))
	return nil
}

// upcallHeaders is the length of struct nlmsghdr, struct genlmsghdr and struct ovs_header.
const upcallHeaders = 16 + headersLen

// upcallFault returns what is wrong with the headers of a datagram.
func upcallFault(datagram []byte, family uint16) error {
	h, payload, _, err := netlink.SplitMessage(datagram)
	if err != nil {
		return err
	}
	if h.Type != family {
		return ErrForeign
	}
	if _, err := parseReply(payload); err != nil {
		return err
	}
	return ErrForeign // another datapath's
}

// ParseUpcall is the function ParseUpcall for upcalls of this datapath. It may be
// called by any goroutine.
func (d *Datapath) ParseUpcall(datagram []byte, u *Upcall) error {
	return ParseUpcall(datagram, d.fam.Packet.ID, d.idx, u)
}
