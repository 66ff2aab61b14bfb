package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/device"
	"dpifd/internal/dpif"
	"dpifd/internal/genl"
	"dpifd/internal/inspect"
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// linkMessage builds a notification about a device.
func linkMessage(typ uint16, family byte, index int, flags uint32, name string, padding int) []byte {
	var e netlink.Encoder
	e.Begin(typ, 0)
	e.Raw(family, 0, 1, 0)
	e.RawUint32(uint32(index))
	e.RawUint32(flags)
	e.RawUint32(0)
	e.String(unix.IFLA_IFNAME, name)
	e.Uint32(unix.IFLA_MTU, 1500)
	e.Uint8(unix.IFLA_OPERSTATE, 6)
	e.Attr(unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 7})
	e.Nested(unix.IFLA_LINKINFO, func(e *netlink.Encoder) { e.String(unix.IFLA_INFO_KIND, "veth") })
	e.Attr(unix.IFLA_IFALIAS, []byte(strings.Repeat("x", padding)))
	e.End()
	return e.Bytes()
}

// lines runs m until it has returned count events, and returns their text without the time.
func lines(t *testing.T, m *Monitor, count int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var got []string
	flushed := 0
	err := m.Run(ctx, func(ev *Event) error {
		text := m.FlowText(ev, odp.Text{}, true)
		_, line, _ := strings.Cut(string(ev.AppendText(nil, &text)), " ")
		got = append(got, line)
		if len(got) == count {
			cancel()
		}
		return nil
	}, func() error { flushed++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if flushed == 0 {
		t.Error("never flushed")
	}
	return got
}

// TestLinksOverRing reads device events from a ring of an emulated kernel, in frames and by COPY,
// and continues after an overflow.
func TestLinksOverRing(t *testing.T) {
	for _, version := range []ringtest.Version{ringtest.V41, ringtest.V44} {
		m, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		k := ringtest.New(ringtest.Config{Version: version})
		sock, err := netlink.OpenReceiver(unix.NETLINK_ROUTE, netlink.ReceiverConfig{
			Ring: mmapring.Geometry{FrameSize: 1024, BlockSize: 4096, Blocks: 4}, Kernel: k})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.add("links", sock, m.names.link); err != nil || m.Transport() != netlink.Ring {
			t.Fatalf("transport %v: %v", m.Transport(), err)
		}
		s := k.Lookup(sock.FD())
		for _, msg := range [][]byte{
			linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, 7, 0, "va", 0),
			linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, 7, unix.IFF_UP, "va", 3000), // larger than a frame
			linkMessage(unix.RTM_NEWLINK, unix.AF_BRIDGE, 7, 0, "va", 0),
			linkMessage(unix.RTM_NEWADDR, unix.AF_INET, 7, 0, "va", 0),
			linkMessage(unix.RTM_DELLINK, unix.AF_UNSPEC, 7, 0, "va", 0),
			linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, 7, 0, "vb", 0),
		} {
			if err := s.Deliver(msg); err != nil {
				t.Fatal(err)
			}
		}
		const rest = "ifindex:7 kind:veth mtu:1500 %s state:up address:02:00:00:00:00:07"
		down, up := fmt.Sprintf(rest, "down"), fmt.Sprintf(rest, "up")
		want := []string{"link new va " + down, "link set va " + up, "link del va " + down, "link new vb " + down}
		if diff := cmp.Diff(want, lines(t, m, len(want))); diff != "" {
			t.Errorf("%v: events (-want +got):\n%s", version, diff)
		}
		for i := 0; !s.Congested(); i++ {
			_ = s.Deliver(linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, 100+i, 0, "vc", 0))
		}
		got := lines(t, m, 17)
		overflows := 0
		for _, line := range got {
			if line == "overflow links: the kernel dropped events" {
				overflows++
			}
		}
		if overflows != 1 {
			t.Errorf("%v: %d overflow messages in %q", version, overflows, got)
		}
		if err := s.Deliver(linkMessage(unix.RTM_DELLINK, unix.AF_UNSPEC, 7, 0, "vb", 3000)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"link del vb " + down}, lines(t, m, 1)); diff != "" {
			t.Errorf("%v: after the overflow (-want +got):\n%s", version, diff)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// notice builds a message of an openvswitch family with an arbitrary id.
func notice(family uint16, cmd byte, attrs func(*netlink.Encoder)) (netlink.Header, []byte) {
	var e netlink.Encoder
	e.Begin(family, 0)
	genl.AppendHeader(&e, cmd, 1)
	e.RawUint32(5)
	attrs(&e)
	e.End()
	h, payload, _, err := netlink.SplitMessage(e.Bytes())
	if err != nil {
		panic(err)
	}
	return h, payload
}

// TestNames: events use the names from earlier events.
func TestNames(t *testing.T) {
	m := &Monitor{cfg: Config{Vports: true, Flows: true}}
	m.names.datapaths = map[int32]*datapath{}
	m.names.fam = &dpif.Families{Datapath: genl.Family{ID: 0x1a}, Vport: genl.Family{ID: 0x1b},
		Flow: genl.Family{ID: 0x1c}}
	flow := func(e *netlink.Encoder) {
		e.Nested(1, func(e *netlink.Encoder) { odp.AppendInPort(e, 2) })
		e.Nested(2, func(e *netlink.Encoder) { odp.AppendOutput(e, 3) })
	}
	port := func(no uint32, name string) func(e *netlink.Encoder) {
		return func(e *netlink.Encoder) {
			e.Uint32(1, no)
			e.Uint32(2, 1)
			e.String(3, name)
			e.Uint32(5, 77)
		}
	}
	dp := func(e *netlink.Encoder) { e.String(1, "dp0"); e.Uint32(5, 2) }
	var got []string
	for _, n := range []struct {
		family uint16
		cmd    byte
		attrs  func(*netlink.Encoder)
	}{
		{0x1a, 1, dp}, {0x1b, 1, port(2, "va")}, {0x1c, 1, flow}, {0x1b, 2, port(2, "va")}, {0x1c, 2, flow}, {0x1a, 2, dp}, {0x1c, 1, flow},
		{0x1d, 1, flow},
	} {
		h, payload := notice(n.family, n.cmd, n.attrs)
		ev, ok, err := m.names.notice(h, payload)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			text := m.FlowText(&ev, odp.Text{}, true)
			_, line, _ := strings.Cut(string(ev.AppendText(nil, &text)), " ")
			got = append(got, line)
		}
	}
	want := []string{
		"datapath new dp0 features:vport_pids",
		"vport new dp0 port:2 va type:netdev upcall_pids:[77]",
		"flow new dp0 in_port(va), packets:0, bytes:0, used:never, actions:3",
		"vport del dp0 port:2 va type:netdev upcall_pids:[77]",
		"flow del dp0 in_port(2), packets:0, bytes:0, used:never, actions:3",
		"datapath del dp0 features:vport_pids",
		"flow new  in_port(2), packets:0, bytes:0, used:never, actions:3", // of an unknown datapath
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	at := time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", 3600))
	for _, tt := range []struct {
		ev   Event
		want string
	}{
		{Event{Link: &device.Link{Index: 7, Name: "va", Kind: "veth", MTU: 1500, Flags: unix.IFF_UP, State: 2, Master: 3}, Op: dpif.New},
			`{"event":"link","op":"new","link":{"name":"va","ifindex":7,"kind":"veth","mtu":1500,"up":true,"state":"down","master":3}}`},
		{Event{DP: "dp0", Datapath: &dpif.DatapathInfo{Features: 10}, Op: dpif.Changed},
			`{"event":"datapath","op":"set","datapath":"dp0","features":["vport_pids","dispatch_upcall_per_cpu"]}`},
		{Event{DP: "dp0", Vport: &dpif.Vport{No: 4, Name: "vx", Type: dpif.VportVXLAN, UpcallPIDs: []uint32{9}}, Op: dpif.Deleted},
			`{"event":"vport","op":"del","datapath":"dp0","vport":{"port_no":4,"name":"vx","type":"vxlan","upcall_pids":[9]}}`},
		{Event{DP: "dp0", Flow: &dpif.Flow{}, Op: dpif.New},
			`{"event":"flow","op":"new","datapath":"dp0","flow":{"key":"<empty>","actions":"drop","packets":0,"bytes":0,"unused_s":null}}`},
		{Event{Overflow: "links"}, `{"event":"overflow","source":"links"}`},
	} {
		tt.ev.Time = at
		b, err := tt.ev.AppendJSON(nil, &inspect.FlowText{})
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]any
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		want["time"] = "2026-05-06T06:08:09.123456Z"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
