package dpif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"dpifd/internal/genl"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	testFamily  = 0x1d
	testDPIndex = 42
)

// upcallMessage builds an upcall of the kernel with the given headers and the attributes that attrs
// encodes.
func upcallMessage(family uint16, cmd uint8, dpIndex int32, attrs func(*netlink.Encoder)) []byte {
	var e netlink.Encoder
	e.Begin(family, 0)
	genl.AppendHeader(&e, cmd, 1)
	e.RawUint32(uint32(dpIndex))
	attrs(&e)
	e.End()
	return bytes.Clone(e.Bytes())
}

func appendTestKey(e *netlink.Encoder, in odp.PortNo) {
	e.Nested(packetAttrKey, func(e *netlink.Encoder) {
		e.Uint32(odp.KeyAttrRecircID, 0)
		odp.AppendInPort(e, in)
		odp.AppendEthernet(e, odp.MAC{2, 0, 0, 0, 0, byte(in)}, odp.MAC{2, 0, 0, 0, 1, 9})
		odp.AppendEthertype(e, 0x86dd)
	})
}

func TestParseUpcall(t *testing.T) {
	packet := bytes.Repeat([]byte{0xa5, 1, 2}, 333)
	full := func(e *netlink.Encoder) {
		appendTestKey(e, 17)
		e.Attr(packetAttrUserdata, []byte("cookie"))
		e.Attr(packetAttrEgressTunKey, []byte{8, 0, 1, 0, 1, 2, 3, 4})
		e.Nested(packetAttrActions, func(e *netlink.Encoder) { odp.AppendOutput(e, 3) })
		e.Uint16(packetAttrMRU, 1400)
		e.Uint32(packetAttrLen, 5000)
		e.Uint64(packetAttrHash, 0x1_0000_beef)
		e.Attr(999, []byte("of a later kernel"))
		e.Attr(packetAttrPacket, packet)
	}
	type want struct {
		Kind                     Kind
		InPort                   odp.PortNo
		Packet, Userdata, EgrTun []byte
		Actions                  []byte
		MRU                      uint16
		Len                      uint32
		Hash                     uint64
		HasHash                  bool
	}
	complete := want{Action, 17, packet, []byte("cookie"), []byte{8, 0, 1, 0, 1, 2, 3, 4}, []byte{8, 0, 1, 0, 3, 0, 0, 0},
		1400, 5000, 0x1_0000_beef, true}
	unpadded := upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) {
		appendTestKey(e, 9)
		e.Attr(packetAttrPacket, packet[:61])
	})
	unpadded = unpadded[:len(unpadded)-3]
	binary.NativeEndian.PutUint32(unpadded, uint32(len(unpadded)))
	for _, tc := range []struct {
		name string
		msg  []byte
		want want
		err  error
	}{
		{"action with everything", upcallMessage(testFamily, packetCmdAction, testDPIndex, full), complete, nil},
		{"miss without padding", unpadded, want{Kind: Miss, InPort: 9, Packet: packet[:61]}, nil},
		{"empty packet", upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) {
			appendTestKey(e, 1)
			e.Flag(packetAttrPacket)
		}), want{Kind: Miss, InPort: 1, Packet: []byte{}}, nil},
		{"another family", upcallMessage(testFamily+1, packetCmdMiss, testDPIndex, full), want{}, ErrForeign},
		{"another datapath", upcallMessage(testFamily, packetCmdMiss, testDPIndex+1, full), want{}, ErrForeign},
		{"not an upcall", upcallMessage(testFamily, packetCmdExecute, testDPIndex, full), want{}, ErrForeign},
		{"no packet", upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) { appendTestKey(e, 1) }), want{}, ErrIncomplete},
		{"no key", upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) { e.Attr(packetAttrPacket, packet) }), want{}, ErrIncomplete},
		{"key without in-port", upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) {
			e.Attr(packetAttrPacket, packet)
			e.Nested(packetAttrKey, func(e *netlink.Encoder) { odp.AppendEthertype(e, 0x800) })
		}), want{}, ErrIncomplete},
		{"MRU of the wrong size", upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) {
			appendTestKey(e, 1)
			e.Attr(packetAttrPacket, packet)
			e.Uint32(packetAttrMRU, 1)
		}), want{}, netlink.ErrMalformed},
		{"no ovs_header", func() []byte {
			var e netlink.Encoder
			e.Begin(testFamily, 0)
			genl.AppendHeader(&e, packetCmdMiss, 1)
			e.End()
			return e.Bytes()
		}(), want{}, netlink.ErrMalformed},
		{"nothing", nil, want{}, netlink.ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var u Upcall
			err := ParseUpcall(tc.msg, testFamily, testDPIndex, &u)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if err != nil {
				return
			}
			got := want{u.Kind, u.InPort, u.Packet, u.Userdata, u.EgressTunKey, u.Actions, u.MRU, u.Len, u.Hash, u.HasHash}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseUpcallCutShort(t *testing.T) {
	msg := upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) {
		appendTestKey(e, 5)
		e.Attr(packetAttrPacket, make([]byte, 64))
	})
	for n := range msg {
		var u Upcall
		if err := ParseUpcall(msg[:n], testFamily, testDPIndex, &u); err == nil {
			t.Errorf("the first %d of %d bytes pass for an upcall", n, len(msg))
		}
	}
}

// TestParseUpcallAgain parses into an Upcall that has all fields set by an earlier one.
func TestParseUpcallAgain(t *testing.T) {
	full := upcallMessage(testFamily, packetCmdAction, testDPIndex, func(e *netlink.Encoder) {
		appendTestKey(e, 5)
		for _, typ := range []uint16{packetAttrPacket, packetAttrUserdata, packetAttrActions, packetAttrEgressTunKey} {
			e.Attr(typ, []byte{1, 2, 3, 4})
		}
		e.Uint16(packetAttrMRU, 1500)
		e.Uint32(packetAttrLen, 99)
		e.Uint64(packetAttrHash, 7)
	})
	little := upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) {
		e.Attr(packetAttrPacket, []byte{1})
		appendTestKey(e, 6)
	})
	var u, fresh Upcall
	for _, err := range []error{
		ParseUpcall(full, testFamily, testDPIndex, &u),
		ParseUpcall(little, testFamily, testDPIndex, &u),
		ParseUpcall(little, testFamily, testDPIndex, &fresh),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if port := u.Fields().Get(odp.KeyAttrInPort); binary.NativeEndian.Uint32(port) != 6 {
		t.Errorf("in-port in the table: % x", port)
	}
	if diff := cmp.Diff(fresh, u, cmpopts.IgnoreUnexported(Upcall{})); diff != "" {
		t.Errorf("a field of the former upcall is left (-want +got):\n%s", diff)
	}
}

// TestUpcallFields uses upcalls that ParseUpcall did not create.
func TestUpcallFields(t *testing.T) {
	var u Upcall
	for port := range uint32(3) {
		var e netlink.Encoder
		e.Uint32(odp.KeyAttrInPort, port)
		u.Key = e.Bytes()
		if got := u.Fields().Get(odp.KeyAttrInPort); len(got) != 4 || binary.NativeEndian.Uint32(got) != port {
			t.Errorf("in-port % x, want %d", got, port)
		}
	}
	if u.Key = []byte{1}; u.Fields().Err() == nil {
		t.Error("a malformed key passes")
	}
}

// FuzzParse feeds the decoders of kernel messages. What they return must lie within the given
// bytes.
func FuzzParse(f *testing.F) {
	f.Add(upcallMessage(testFamily, packetCmdMiss, testDPIndex, func(e *netlink.Encoder) {
		appendTestKey(e, 5)
		e.Attr(packetAttrPacket, make([]byte, 64))
		e.Uint64(packetAttrHash, 7)
	}))
	f.Add(upcallMessage(testFamily, cmdNew, testDPIndex, func(e *netlink.Encoder) {
		e.String(vportAttrName, "veth0")
		e.Uint32(vportAttrPortNo, 3)
		e.Attr(vportAttrUpcallPID, make([]byte, 12))
		e.Attr(vportAttrStats, make([]byte, 64))
		e.Nested(vportAttrUpcallStats, func(e *netlink.Encoder) {
			e.Uint64(vportUpcallAttrSuccess, 8)
			e.Uint64(vportUpcallAttrFail, 9)
		})
	}))
	f.Add(upcallMessage(testFamily, cmdNew, testDPIndex, func(e *netlink.Encoder) {
		e.Attr(flowAttrUFID, make([]byte, 16))
		e.Attr(flowAttrStats, make([]byte, 16))
		e.Uint64(flowAttrUsed, 12345)
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var u Upcall
		if ParseUpcall(b, testFamily, testDPIndex, &u) == nil {
			if n := len(u.Packet) + len(u.Key) + len(u.Userdata) + len(u.Actions) + len(u.EgressTunKey); n > len(b) {
				t.Fatalf("%d bytes decoded from %d", n, len(b))
			}
			if u.Packet == nil || u.Key == nil {
				t.Fatal("no packet or no key, and no error")
			}
		}
		_, payload, _, err := netlink.SplitMessage(b)
		if err != nil {
			return
		}
		r, err := parseReply(payload)
		if err != nil {
			return
		}
		_, _ = parseDatapath(r)
		if v, err := parseVport(r); err == nil && (v.Name == "" || 4*len(v.UpcallPIDs) > len(b)) {
			t.Fatalf("vport %+v from %d bytes", v, len(b))
		}
		var fl Flow
		if parseFlow(r, &fl) == nil && !fl.HasUFID && fl.Key == nil {
			t.Fatal("a flow without key and UFID")
		}
	})
}
