//go:build lab

package kernel_test

import (
	"errors"
	"fmt"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// attrs returns the attributes that build appends.
func attrs(build func(*netlink.Encoder)) []byte {
	var e netlink.Encoder
	build(&e)
	return e.Bytes()
}

// outputs returns actions that output a packet to ports.
func outputs(ports ...odp.PortNo) []byte {
	return attrs(func(e *netlink.Encoder) {
		for _, no := range ports {
			odp.AppendOutput(e, no)
		}
	})
}

// key returns the key of a frame with the experimental Ethertype.
func key(in odp.PortNo, src, dst odp.MAC) []byte {
	return attrs(func(e *netlink.Encoder) {
		odp.AppendInPort(e, in)
		odp.AppendEthernet(e, src, dst)
		odp.AppendEthertype(e, 0x88b5)
	})
}

// testFlow is a flow for one pair of addresses, both derived from id.
func testFlow(id byte, in odp.PortNo, out ...odp.PortNo) *dpif.Flow {
	exact := odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	return &dpif.Flow{
		UFID: dpif.UFID{0xd0, 1: id, 15: ^id}, HasUFID: true,
		Key: key(in, odp.MAC{2, 0x5c, 0, 0, 0, id}, odp.MAC{2, 0xd7, 0, 0, id, 0}),
		Mask: attrs(func(e *netlink.Encoder) {
			odp.AppendInPortMask(e)
			odp.AppendEthernet(e, exact, exact)
		}),
		Actions: outputs(out...),
	}
}

// shown is the flow that readFlow returns for testFlow.
func shown(id byte, in odp.PortNo, actions string) flow {
	return flow{in, fmt.Sprintf("src=02:5c:00:00:00:%02x,dst=02:d7:00:00:%02x:00", id, id), actions}
}

func TestFlows(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 0)
	dp := newDatapath(t, n.sw, n.dpName)
	v := view{dp}
	for _, f := range []*dpif.Flow{testFlow(1, 0, 2), testFlow(2, 1, 0, 3), testFlow(3, 2)} {
		if err := dp.PutFlow(f, dpif.Create); err != nil {
			t.Fatal(err)
		}
	}
	lab.Need(t, "unique flow identifiers", func() error {
		f, err := dp.GetFlow(testFlow(1, 0))
		if err == nil && !f.HasUFID {
			err = errors.New("the flow came back without its identifier")
		}
		return err
	})
	want := map[flow]uint64{shown(1, 0, "2"): 0, shown(2, 1, "0,3"): 0, shown(3, 2, "drop"): 0}
	if diff := cmp.Diff(want, v.flows(t)); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}

	// A terse dump has the same flows, with identifiers and counters only.
	terse := make(map[dpif.UFID]bool)
	err := dp.Flows(true, func() { clear(terse) }, func(f *dpif.Flow) error {
		terse[f.UFID] = f.HasUFID && f.Key == nil && f.Mask == nil && f.Actions == nil
		return nil
	})
	wantTerse := map[dpif.UFID]bool{testFlow(1, 0).UFID: true, testFlow(2, 0).UFID: true, testFlow(3, 0).UFID: true}
	if diff := cmp.Diff(wantTerse, terse); err != nil || diff != "" {
		t.Errorf("terse dump: error %v (-want +got):\n%s", err, diff)
	}

	wantErrno(t, "create a flow twice", dp.PutFlow(testFlow(2, 1, 4), dpif.Create), unix.EEXIST)
	wantErrno(t, "modify an absent flow", dp.PutFlow(testFlow(9, 1, 4), dpif.Modify), unix.ENOENT)
	wantErrno(t, "delete an absent flow", dp.DeleteFlow(testFlow(9, 1)), unix.ENOENT)
	_, err = dp.GetFlow(testFlow(9, 1))
	wantErrno(t, "get an absent flow", err, unix.ENOENT)

	if err := dp.PutFlow(testFlow(2, 1, 5), dpif.Modify); err != nil {
		t.Error(err)
	}
	got, err := dp.GetFlow(testFlow(2, 1))
	if err != nil {
		t.Fatal(err)
	}
	if seen, err := readFlow(&got); err != nil || seen != shown(2, 1, "5") || got.UFID != testFlow(2, 1).UFID {
		t.Errorf("got %+v with UFID %s, error %v; want the modified flow", seen, got.UFID, err)
	}
	if err := dp.DeleteFlow(testFlow(1, 0)); err != nil {
		t.Error(err)
	}
	want = map[flow]uint64{shown(2, 1, "5"): 0, shown(3, 2, "drop"): 0}
	if diff := cmp.Diff(want, v.flows(t)); diff != "" {
		t.Errorf("flows after deletion (-want +got):\n%s", diff)
	}
	if err := dp.FlushFlows(); err != nil {
		t.Error(err)
	}
	if got := v.flows(t); len(got) != 0 || v.info(t).Stats.Flows != 0 {
		t.Errorf("after the flush: %v", got)
	}
}

// TestL2Key: with a mask of in-port and addresses only, the kernel makes the same flow of a key
// with just these fields as of a packet's whole key.
func TestL2Key(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 0)
	dp := newDatapath(t, n.sw, n.dpName)
	exact := odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	mask := attrs(func(e *netlink.Encoder) {
		odp.AppendInPortMask(e)
		odp.AppendEthernet(e, odp.MAC{1}, exact)
	})
	for id, text := range []string{
		"in_port(1),eth(src=02:5c:00:00:00:01,dst=02:d7:00:00:00:01)", // IEEE 802.2
		"in_port(2),eth(src=02:5c:00:00:00:02,dst=02:d7:00:00:00:02),eth_type(0x88b5)",
		"skb_priority(3),in_port(3),skb_mark(4),eth(src=02:5c:00:00:00:03,dst=02:d7:00:00:00:03),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=53,dst=4000)",
		"in_port(4),eth(src=03:5c:00:00:00:04,dst=02:d7:00:00:00:04),eth_type(0x86dd),ipv6(src=2001:db8::1,dst=2001:db8::2,label=0,proto=58,tclass=0,hlimit=255,frag=no),icmpv6(type=128,code=0)",
		"in_port(5),eth(src=02:5c:00:00:00:05,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),arp(sip=10.0.0.1,tip=10.0.0.2,op=1,sha=02:5c:00:00:00:05,tha=00:00:00:00:00:00)",
	} {
		key, _, err := odp.Text{}.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		var table netlink.AttrTable
		var part odp.L2Key
		if err := table.Scan(key); err != nil || !part.Of(&table, mask) {
			t.Fatalf("%s: error %v, or the part does not do", text, err)
		}
		whole := &dpif.Flow{UFID: dpif.UFID{0xa0, byte(id)}, HasUFID: true, Key: key, Mask: mask, Actions: outputs(1)}
		short := &dpif.Flow{UFID: dpif.UFID{0xb0, byte(id)}, HasUFID: true, Key: part[:], Mask: mask, Actions: outputs(1)}
		var dumped [2]string
		for i, f := range []*dpif.Flow{whole, short} {
			if err := dp.PutFlow(f, dpif.Create); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			wantErrno(t, "the same flow of the other key", dp.PutFlow([]*dpif.Flow{short, whole}[i], dpif.Create), unix.EEXIST)
			got, err := dp.GetFlow(f)
			if err != nil {
				t.Fatal(err)
			}
			dumped[i] = string(odp.Text{}.AppendKey(nil, got.Key, got.Mask))
			if err := dp.DeleteFlow(f); err != nil {
				t.Fatal(err)
			}
		}
		if dumped[0] != dumped[1] {
			t.Errorf("%s: the flow of the whole key is\n%s\nand that of the part\n%s", text, dumped[0], dumped[1])
		}
	}
}

// TestLargeDump dumps more flows than fit in one datagram of the kernel.
func TestLargeDump(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 0)
	dp := newDatapath(t, n.sw, n.dpName)
	const flows = 1000
	b := dp.NewBatch()
	for i := range flows {
		f := testFlow(byte(i), odp.PortNo(i>>8), odp.PortNo(i))
		f.UFID[2] = byte(i >> 8)
		b.PutFlow(f, dpif.Create)
	}
	if err := dp.Send(b, func(i int, errno unix.Errno) { t.Errorf("flow %d: %v", i, errno) }); err != nil {
		t.Fatal(err)
	}
	if got := len(view{dp}.flows(t)); got != flows {
		t.Errorf("%d flows, want %d", got, flows)
	}
}

// TestBatchContinues: a refused request does not affect the others of its batch.
func TestBatchContinues(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 2)
	dp := newDatapath(t, n.sw, n.dpName)
	for _, h := range n.hosts {
		if _, err := dp.AddVport(h.port, dpif.VportNetdev, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	p := n.sockets(t)
	up := func(in odp.PortNo, packet []byte) *dpif.Upcall {
		return &dpif.Upcall{Kind: dpif.Miss, InPort: in, Packet: packet,
			Key: key(in, odp.MAC(packet[6:12]), odp.MAC(packet[:6]))}
	}
	one, two := frame(t, "02:d7:00:00:07:00", "02:5c:00:00:00:07"), frame(t, broadcast, "02:5c:00:00:00:08")

	b := dp.NewBatch()
	b.PutFlow(testFlow(1, 1, 2), dpif.Create)
	b.Execute(up(1, one), outputs(2))
	b.PutFlow(testFlow(1, 1, 2), dpif.Create) // 2: EEXIST
	b.Execute(up(2, two), outputs(1))
	b.Execute(&dpif.Upcall{InPort: 1, Packet: []byte{1, 2, 3}, Key: []byte{}}, outputs(1)) // 4: too short
	b.DeleteFlow(testFlow(8, 1))                                                           // 5: ENOENT
	b.PutFlow(testFlow(2, 2, 1), dpif.Create)
	failed := make(map[int]unix.Errno)
	if err := dp.Send(b, func(i int, errno unix.Errno) { failed[i] = errno }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]unix.Errno{2: unix.EEXIST, 4: unix.ERANGE, 5: unix.ENOENT}, failed); diff != "" {
		t.Errorf("refused requests (-want +got):\n%s", diff)
	}
	p[1].Expect(t, waitLimit, among(one))
	p[0].Expect(t, waitLimit, among(two))
	want := map[flow]uint64{shown(1, 1, "2"): 0, shown(2, 2, "1"): 0}
	if diff := cmp.Diff(want, view{dp}.flows(t)); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}

	// Sent one by one, the same requests fail, and each error is returned.
	jumbo := append(one[:14:14], make([]byte, 1486)...)
	if err := executePacket(dp, up(1, jumbo), outputs(2, 1)); err != nil {
		t.Error(err)
	}
	p[0].Expect(t, waitLimit, among(jumbo))
	p[1].Expect(t, waitLimit, among(jumbo))
	wantErrno(t, "execute a packet of 5 bytes", executePacket(dp, &dpif.Upcall{Packet: make([]byte, 5)}, outputs(1)),
		unix.ERANGE)
}

// executePacket runs actions on a packet and waits for the kernel's answer.
func executePacket(dp *dpif.Datapath, u *dpif.Upcall, actions []byte) error {
	b := dp.NewBatch()
	b.Execute(u, actions)
	var answer error
	err := dp.Transact(b, func(_ int, _ *dpif.Flow, err error) { answer = err })
	return errors.Join(err, answer)
}
