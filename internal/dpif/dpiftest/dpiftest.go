// Package dpiftest provides kernel parts for tests of the packages above dpif: upcalls as the
// kernel sends them, and datapaths.
package dpiftest

import (
	"bytes"

	"dpifd/internal/dpif"
	"dpifd/internal/genl"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// Index is the index of the upcalls' datapath.
const Index = 42

// enum ovs_packet_cmd and ovs_packet_attr, linux/openvswitch.h.
const (
	packetCmdMiss    = 1
	packetAttrPacket = 1
	packetAttrKey    = 2
	packetAttrMRU    = 9
	packetAttrHash   = 11
)

// Families returns families with ids of netlink control messages, which every kernel skips, so that
// requests succeed without effect.
func Families() *dpif.Families {
	noop := genl.Family{ID: unix.NLMSG_MIN_TYPE - 1, Version: 1}
	return &dpif.Families{Datapath: noop, Vport: noop, Flow: noop,
		Packet: genl.Family{ID: unix.NLMSG_MIN_TYPE - 2, Version: 1}}
}

// Datapath returns a datapath whose requests go to conn and have no effect.
func Datapath(conn *netlink.Conn) *dpif.Datapath {
	return dpif.NewDatapath(conn, Families(), "dp0", Index)
}

// Key builds the key of an IPv6 packet.
func Key(in odp.PortNo) []byte {
	var e netlink.Encoder
	e.Uint32(odp.KeyAttrRecircID, 0)
	odp.AppendInPort(&e, in)
	odp.AppendEthernet(&e, odp.MAC{2, 0, 0, 0, 0, byte(in)}, odp.MAC{2, 0, 0, 0, 1, 9})
	odp.AppendEthertype(&e, 0x86dd)
	return bytes.Clone(e.Bytes())
}

// Miss builds the message of a packet that matched no flow.
func Miss(key, packet []byte) []byte { return miss(key, packet, func(*netlink.Encoder) {}) }

// MissWithMetadata is Miss with a hash and the size of the largest fragment.
func MissWithMetadata(key, packet []byte) []byte {
	return miss(key, packet, func(e *netlink.Encoder) {
		e.Uint64(packetAttrHash, 0x2_1234)
		e.Uint16(packetAttrMRU, 1280)
	})
}

func miss(key, packet []byte, more func(*netlink.Encoder)) []byte {
	var e netlink.Encoder
	e.Begin(Families().Packet.ID, 0)
	genl.AppendHeader(&e, packetCmdMiss, 1)
	e.RawUint32(Index)
	e.Attr(packetAttrKey, key)
	e.Attr(packetAttrPacket, packet)
	more(&e)
	e.End()
	return e.Bytes()
}
