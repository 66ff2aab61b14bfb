package pcapng_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dpifd/internal/pcapng"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ping is an ICMP echo request in an Ethernet frame.
func ping(t *testing.T, seq uint16) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
			EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IP{10, 0, 0, 1},
			DstIP: net.IP{10, 0, 0, 2}},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: seq},
		gopacket.Payload("dpifd"))
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var start = time.Date(2026, 3, 4, 5, 6, 7, 891234567, time.UTC)

// packets are from three ports, one of them the local port; the last is truncated.
func packets(t *testing.T) []pcapng.Packet {
	return []pcapng.Packet{
		{Time: start, Port: "va", Data: ping(t, 1), Comments: []string{"miss: flood 2,3", "installed"}},
		{Time: start.Add(time.Millisecond), Port: "dp0", Data: ping(t, 2)},
		{Time: start.Add(time.Second), Port: "vb", Data: ping(t, 3), Comments: []string{"", "miss: größer"}},
		{Time: start.Add(2 * time.Second), Port: "va", Data: ping(t, 4)[:50], Length: 1400},
	}
}

func write(t *testing.T, list []pcapng.Packet) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, "dpifd test", "dp0")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// read parses a file with gopacket's reader, which shares no code with the writer.
func read(t *testing.T, file []byte) []pcapng.Packet {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	var list []pcapng.Packet
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			return list
		}
		intf, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		p := pcapng.Packet{Time: info.Timestamp.UTC(), Port: intf.Name, Data: data, Comments: options.Comments}
		if info.Length != len(data) {
			p.Length = info.Length
		}
		list = append(list, p)
	}
}

func TestRoundTrip(t *testing.T) {
	want := packets(t)
	want[2].Comments = want[2].Comments[1:] // an empty comment is dropped
	if diff := cmp.Diff(want, read(t, write(t, packets(t)))); diff != "" {
		t.Errorf("packets (-written +read):\n%s", diff)
	}
}

func TestLongComment(t *testing.T) {
	long := "x" + strings.Repeat("ß", 70_000)
	got := read(t,
		write(t, []pcapng.Packet{{Time: start, Port: "va", Data: ping(t, 1), Comments: []string{long}}, packets(t)[0]}))
	if len(got) != 2 || len(got[0].Comments) != 1 {
		t.Fatalf("read %d packets", len(got))
	}
	c := got[0].Comments[0]
	if !strings.HasPrefix(long, c) || len(c) < 16<<10-4 || len(c) > 16<<10 || !utf8.ValidString(c) {
		t.Errorf("comment of %d bytes, valid UTF-8 %v", len(c), utf8.ValidString(c))
	}
}

func TestWriteFails(t *testing.T) {
	full := errors.New("disk full")
	w, err := pcapng.NewWriter(failing{full}, "dpifd", "dp0")
	if err == nil {
		if err = w.Write(packets(t)[0]); err == nil {
			err = w.Flush()
		}
	}
	if !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

// TestTshark reads a file with tshark.
func TestTshark(t *testing.T) {
	tool, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("tshark is not installed")
	}
	file := filepath.Join(t.TempDir(), "upcalls.pcapng")
	if err := os.WriteFile(file, write(t, packets(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "-n", "-r", file, "-T", "fields", "-E", "separator=|",
		"-e", "frame.time_epoch", "-e", "frame.interface_name",
		"-e", "frame.packet_flags_direction", "-e", "frame.len", "-e", "frame.cap_len", "-e", "icmp.seq",
		"-e", "frame.comment")
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	want := strings.Join([]string{
		"1772600767.891234567|va|0x00000001|60|60|1|miss: flood 2,3,installed",
		"1772600767.892234567|dp0|0x00000001|60|60|2|",
		"1772600768.891234567|vb|0x00000001|60|60|3|miss: größer",
		"1772600769.891234567|va|0x00000001|1400|50|4|",
		"",
	}, "\n")
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("tshark (-want +got):\n%s", diff)
	}
}
