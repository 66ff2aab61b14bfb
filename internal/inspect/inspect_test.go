package inspect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	d := Datapath{
		Name: "dp0", Features: []string{"unaligned", "vport_pids"},
		Stats: dpif.DatapathStats{Hit: 30, Missed: 10, Lost: 1, Flows: 4, MaskHit: 60, Masks: 2, CacheHit: 20, CacheSize: 256},
		Ports: []Port{
			{No: 0, Name: "dp0", Type: "internal", Sockets: []Socket{{}}},
			{No: 1, Name: "va", Type: "netdev", Device: "veth", Stats: dpif.VportStats{RxPackets: 5, RxBytes: 1023, TxPackets: 6, TxBytes: 1536, TxDropped: 7},
				Sockets: []Socket{{PID: 77, Found: true, Queued: 4352, Drops: 3, Owners: []Process{{812, "dpifd"}, {1, "systemd"}}}}},
			{No: 2, Name: "vxlan_sys_4790", Type: "netdev", Device: "vxlan", DstPort: 4790},
			{No: 3, Name: "gre_sys", Type: "netdev", Device: "gretap", Upcalls: &UpcallStats{8, 2}},
			{No: 4, Name: "vx", Type: "vxlan", DstPort: 4789, Sockets: []Socket{{PID: 9}}},
		},
	}
	d.SetRing(812, 77, Ring{Frames: 6400, Used: 12})
	d.SetRing(812, 9, Ring{Frames: 6400, Used: 1}) // no such socket here
	d.SetRing(5, 77, Ring{Frames: 16, Used: 1})    // of a daemon in another namespace, with the same port id
	const want = `system@dp0:
  lookups: hit:30 missed:10 lost:1
  flows: 4
  masks: hit:60 total:2 hit/pkt:1.50
  cache: hit:20 hit-rate:50.00%
  caches:
    masks-cache: size:256
  features: unaligned,vport_pids
  port 0: dp0 (internal)
    RX packets:0 errors:0 dropped:0
    TX packets:0 errors:0 dropped:0
    RX bytes:0  TX bytes:0
    upcalls: pid:0, no listener: packets that miss are lost
  port 1: va
    RX packets:5 errors:0 dropped:0
    TX packets:6 errors:0 dropped:7
    RX bytes:1023  TX bytes:1536 (1.5 KiB)
    upcalls: pid:77 queued:4352 (4.2 KiB) drops:3 ring:12/6400 owner:dpifd[812],systemd[1]
  port 2: vxlan_sys_4790 (vxlan: dst_port=4790)
    RX packets:0 errors:0 dropped:0
    TX packets:0 errors:0 dropped:0
    RX bytes:0  TX bytes:0
  port 3: gre_sys (gre)
    RX packets:0 errors:0 dropped:0
    TX packets:0 errors:0 dropped:0
    RX bytes:0  TX bytes:0
    UPCALL packets:8 errors:2
  port 4: vx (vxlan: dst_port=4789)
    RX packets:0 errors:0 dropped:0
    TX packets:0 errors:0 dropped:0
    RX bytes:0  TX bytes:0
    upcalls: pid:9, not a socket of this network namespace
`
	if diff := cmp.Diff(want, string(d.AppendText(nil, true))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTextPerCPU(t *testing.T) {
	d := Datapath{Name: "dp0", Features: []string{}, perCPU: true, PerCPU: []Socket{{PID: 5, Found: true}, {}},
		Ports: []Port{{No: 1, Name: "va", Type: "netdev", Sockets: []Socket{{PID: 5}}}}}
	const want = `  features: none
  upcalls of CPU 0: pid:5 queued:0 drops:0
  upcalls of CPU 1: pid:0, no listener: packets that miss are lost
  port 1: va
`
	if got := string(d.AppendText(nil, false)); !strings.HasSuffix(got, want) {
		t.Errorf("got\n%swant at its end\n%s", got, want)
	}
	d.PerCPU = nil
	if got := string(d.AppendText(nil, false)); !strings.Contains(got, "  upcalls by CPU: no sockets are known") {
		t.Errorf("got\n%s", got)
	}
}

// TestOwners reads a /proc made of plain files and links.
func TestOwners(t *testing.T) {
	proc := t.TempDir()
	for _, p := range []struct{ id, name, target string }{
		{"812", "dpifd", "socket:[8123]"}, {"812", "dpifd", "socket:[8124]"}, {"812", "dpifd", "socket:[8123]"},
		{"1", "systemd", "socket:[8124]"}, {"1", "systemd", "/dev/null"}, {"99", "other", "socket:[81230]"},
		{"self", "loop", "socket:[8123]"}, {"55", "odd", "socket:[8123"},
	} {
		dir := filepath.Join(proc, p.id, "fd")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, p.id, "comm"), []byte(p.name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for fd := 3; ; fd++ {
			err := os.Symlink(p.target, filepath.Join(dir, string(rune('0'+fd))))
			if err == nil {
				break
			}
			if !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	got := map[uint32][]Process{}
	owners(proc, map[uint64]uint32{8123: 7, 8124: 8}, func(pid uint32, p Process) { got[pid] = append(got[pid], p) })
	want := map[uint32][]Process{7: {{812, "dpifd"}}, 8: {{1, "systemd"}, {812, "dpifd"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func testFlow(t *testing.T) *dpif.Flow {
	t.Helper()
	key, mask, err := odp.Text{}.ParseKey("in_port(1),eth(),eth_type(0x0800),ipv4(proto=6)")
	if err != nil {
		t.Fatal(err)
	}
	actions, err := odp.Text{}.ParseActions("2")
	if err != nil {
		t.Fatal(err)
	}
	return &dpif.Flow{Key: key, Mask: mask, Actions: actions, HasUFID: true,
		UFID:    dpif.UFID{0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 3, 2, 1, 0, 7, 6, 5, 4},
		Packets: 5, Bytes: 490, UsedMS: 10_250, TCPFlags: 0xff}
}

func TestFlowText(t *testing.T) {
	text := FlowText{NowMS: 12_756}
	f := testFlow(t)
	const want = "in_port(1),eth(),eth_type(0x0800),ipv4(proto=6), packets:5, bytes:490, used:2.506s, flags:SFPRU.EC, " +
		"actions:2"
	if got := string(text.Append(nil, f)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	text.PortName = func(no odp.PortNo) string { return map[odp.PortNo]string{1: "va", 2: "vb"}[no] }
	got := map[string]any{}
	b, err := text.AppendJSON(nil, f)
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	wantJSON := map[string]any{
		"ufid": "89abcdef-0123-4567-0001-020304050607", "key": "in_port(va),eth(),eth_type(0x0800),ipv4(proto=6)",
		"actions": "vb", "packets": 5.0, "bytes": 490.0, "unused_s": 2.506, "tcp_flags": "SFPRU.EC",
	}
	if diff := cmp.Diff(wantJSON, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	f.UsedMS, f.TCPFlags, f.HasUFID = 0, 0, false
	if got := string(text.Append(nil, f)); !strings.HasSuffix(got, ", used:never, actions:vb") {
		t.Errorf("unused flow: %s", got)
	}
	if b, err := text.AppendJSON(nil, f); err != nil || !strings.Contains(string(b), `"unused_s":null`) ||
		strings.Contains(string(b), "ufid") {
		t.Errorf("unused flow: %s, %v", b, err)
	}
	f.HasUFID, text.Verbose = true, true
	if got := string(text.Append(nil, f)); !strings.HasPrefix(got, "ufid:89abcdef-0123-4567-0001-020304050607, ") ||
		!strings.Contains(got, ", dp:ovs, actions:") {
		t.Errorf("verbose: %s", got)
	}
}
