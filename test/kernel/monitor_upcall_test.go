//go:build lab

package kernel_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/lab"
	"dpifd/test/bench/load"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// TestMonitorUpcall watches upcalls while frames go back and forth: each is shown with its
// decision, and the file holds the packets.
func TestMonitorUpcall(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"flows": "{max_idle: 600s}"})
	v := n.view(t)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	const frames = 7
	file := filepath.Join(t.TempDir(), "upcalls.pcapng")
	in := v.portNo(t, n.hosts[1].port)
	before := v.shared(t)
	m := n.sw.Start(t, lab.DaemonPath(t), "monitor", "upcall", n.dpName, "-o", "json", "--count", fmt.Sprint(frames),
		"--filter", fmt.Sprintf("in_port(%s),eth_type(0x88b5)", n.hosts[1].port), "--pcapng", file)
	m.WaitLine(t, waitLimit, func(line string) bool { return line == "watching upcalls of "+n.dpName })
	var sent [][]byte
	for i := range frames {
		f := frame(t, broadcast, fmt.Sprintf("02:3a:00:00:00:%02x", i))
		sent = append(sent, f)
		send(t, p[0], frame(t, broadcast, fmt.Sprintf("02:3a:00:00:01:%02x", i))) // from the other port
		send(t, p[1], f)
		p[0].Expect(t, waitLimit, among(f))
	}
	if code := m.WaitExit(t); code != 0 {
		t.Fatalf("exit code %d after %d upcalls", code, frames)
	}
	if diff := cmp.Diff(before, v.shared(t)); diff != "" {
		t.Errorf("the datapath was changed (-before +after):\n%s", diff)
	}
	i := 0
	for line := range strings.Lines(m.Output()) {
		var notice control.Notice
		if json.Unmarshal([]byte(line), &notice) != nil {
			continue // other messages
		}
		u := notice.Upcall
		if u == nil || i >= len(sent) {
			t.Errorf("line %s", line)
			continue
		}
		src := fmt.Sprintf("eth(src=02:3a:00:00:00:%02x,dst=%s)", i, broadcast)
		want := *u
		want.Port, want.PortNo, want.PacketBytes, want.Packet = n.hosts[1].port, uint32(in), len(sent[i]), nil
		want.Decision, want.Install = "multicast", true
		if diff := cmp.Diff(want, *u); diff != "" || !strings.Contains(u.Key, src) {
			t.Errorf("upcall %d, key %s (-want +got):\n%s", i, u.Key, diff)
		}
		i++
	}
	if i != frames {
		t.Errorf("%d upcalls shown, want %d", i, frames)
	}
	checkCapture(t, file, n.hosts[1].port, sent)
	stop(t, d)
}

// checkCapture compares the packets in a file with those sent.
func checkCapture(t *testing.T, file, port string, sent [][]byte) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range sent {
		data, info, err := r.ReadPacketData()
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		from, err := r.Interface(info.InterfaceIndex)
		if err != nil || from.Name != port || !bytes.Equal(data, want) {
			t.Errorf("packet %d of %q (%v): %d bytes, want the %d bytes that %s sent", i, from.Name, err, len(data),
				len(want), port)
		}
	}
	if _, _, err := r.ReadPacketData(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last packet: %v", err)
	}
}

// TestMonitorNeverSlows: nobody reads the monitor's output, and packets are forwarded nevertheless.
func TestMonitorNeverSlows(t *testing.T) {
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"policy": "{mac_limit: 100000}"})
	p := n.sockets(t)
	m := n.sw.Start(t, lab.DaemonPath(t), "monitor", "upcall", n.dpName, "--rate", "1000000")
	m.WaitLine(t, waitLimit, func(line string) bool { return strings.HasPrefix(line, "watching") })
	if err := unix.Kill(m.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const frames = 5000
	_, err := load.Pace(t.Context(), frames, 5000, func(i int) error {
		return p[0].Send(frame(t, broadcast, fmt.Sprintf("02:3b:00:00:%02x:%02x", i>>8, i&255)))
	})
	if err != nil {
		t.Fatal(err)
	}
	last := frame(t, broadcast, "02:3b:ff:ff:ff:ff")
	send(t, p[0], last)
	p[1].Expect(t, waitLimit, among(last))
	e := d.Wait(t, time.Now(), "stats", nil)
	if upcalls, lost := e.Int(t, "upcalls"), e.Int(t, "lost"); upcalls < frames || lost != 0 {
		t.Errorf("%d upcalls, %d lost, with a watcher that is stopped; want %d and none", upcalls, lost, frames)
	}
	if err := unix.Kill(m.PID(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	stop(t, d)
}
