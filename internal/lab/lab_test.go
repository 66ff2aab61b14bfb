//go:build lab

package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

// judge is a test that records how it ended.
type judge struct {
	testing.TB
	end string
}

func (j *judge) Helper() {}

func (j *judge) Skip(args ...any) {
	j.end = "skipped: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func (j *judge) Fatalf(format string, args ...any) {
	j.end = "failed: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestNeed(t *testing.T) {
	tests := []struct {
		feature, strict string
		err             error
		want            string
	}{
		{"rings", "1", nil, "went on"},
		{"rings", "1", unix.ENOPROTOOPT, "skipped: kernel lacks rings: protocol not available"},
		{"upcall-stats", "1", unix.EINVAL, "skipped: kernel lacks upcall-stats: invalid argument"},
		{"meters", "1", unix.ENOENT, "failed: kernel lacks meters, which this kernel must have: no such file or directory"},
		{"meters", "", unix.ENOENT, "skipped: kernel lacks meters: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.feature+tt.strict, func(t *testing.T) {
			t.Setenv("DPIFD_LAB_STRICT", tt.strict)
			j := &judge{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				Need(j, tt.feature, func() error { return tt.err })
				j.end = "went on"
			}()
			<-done
			if j.end != tt.want {
				t.Errorf("%s; want: %s", j.end, tt.want)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	n := NewNetNS(t, "echo")
	for _, addr := range []string{"127.0.0.1", "::1"} {
		if got := n.Echo(t, addr, 3, 1000, time.Minute); got != 3 {
			t.Errorf("%s answered %d of 3", addr, got)
		}
	}
	n.Run(t, "ip", "link", "add", "nobody", "up", "type", "dummy")
	n.Run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "nobody")
	if got := n.Echo(t, "192.0.2.2", 2, 56, 50*time.Millisecond); got != 0 {
		t.Errorf("an address without a host answered %d of 2", got)
	}
}

func TestWithTag(t *testing.T) {
	const tci = 0x6064 // priority 3, VLAN 100
	frame := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x06, 0xaa}
	tests := []struct {
		name   string
		status uint32
		want   []byte // between the addresses and the EtherType
	}{
		{"untagged", unix.TP_STATUS_USER, nil},
		{"tag", unix.TP_STATUS_VLAN_VALID, []byte{0x81, 0x00, 0x60, 0x64}},
		{"service tag", unix.TP_STATUS_VLAN_VALID | unix.TP_STATUS_VLAN_TPID_VALID, []byte{0x88, 0xa8, 0x60, 0x64}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			aux := make([]byte, 20)
			binary.NativeEndian.PutUint32(aux, tt.status)
			binary.NativeEndian.PutUint16(aux[16:], tci)
			binary.NativeEndian.PutUint16(aux[18:], 0x88a8)
			got, err := (&Packet{}).withTag(frame, controlMessage(unix.SOL_PACKET, unix.PACKET_AUXDATA, aux))
			if err != nil {
				t.Fatal(err)
			}
			want := append(append(append([]byte{}, frame[:12]...), tt.want...), frame[12:]...)
			if !bytes.Equal(got, want) {
				t.Errorf("got % x\nwant % x", got, want)
			}
		})
	}
}

// controlMessage builds one struct cmsghdr of a 64-bit kernel with its data.
func controlMessage(level, typ int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(typ))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func TestProcess(t *testing.T) {
	ns := NewNetNS(t, "proc")
	p := ns.Start(t, "sh", "-c",
		`trap 'echo "ended by TERM"; exit 7' TERM; printf par; echo tial; while :; do sleep 0.1; done`)
	if got := p.WaitLine(t, 20*time.Second, func(string) bool { return true }); got != "partial" {
		t.Errorf("first line %q, want %q", got, "partial")
	}
	err := p.Stop(t, unix.SIGTERM, 20*time.Second)
	if err == nil || p.cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("exit: %v, want exit status 7", err)
	}
	p.WaitLine(t, 0, func(line string) bool { return line == "ended by TERM" })
}

// TestStall stops this process for a while: that time counts neither as elapsed nor towards a
// limit.
func TestStall(t *testing.T) {
	const stopped = 2 * time.Second
	watch, within, start := StartStopwatch(), Within(stopped), time.Now()
	cmd := exec.Command("sh", "-c", "kill -STOP $1; sleep 2; kill -CONT $1", "sh", fmt.Sprint(os.Getpid()))
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * stallTick) // so that the meter runs
	took, stalled := time.Since(start), watch.Stalled()
	if stalled < stopped-stallTick-stallFloor || stalled > took || within.Passed() {
		t.Errorf("stopped for 2 of %v: stalled for %v, a limit of %v has passed: %v", took, stalled, stopped, within.Passed())
	}
	for !within.Passed() {
		time.Sleep(stallTick)
	}
}

func TestPacket(t *testing.T) {
	sw := NewNetNS(t, "sw")
	host := Host(t, sw, "p1", "02:00:00:00:00:01", "192.0.2.9/24", "2001:db8::9/64")
	port := host.OpenPacket(t, "eth0")
	peer := sw.OpenPacket(t, "p1")

	// A tagged frame arrives with its tag, even if the driver removed it.
	want := Frame(t, "02:00:00:00:00:02", "02:00:00:00:00:03", unix.ETH_P_8021Q,
		[]byte{0x20, 0x07, 0x88, 0xb5, 0xca, 0xfe})
	if err := peer.Send(want); err != nil {
		t.Fatal(err)
	}
	port.Expect(t, 20*time.Second, func(f []byte) bool { return bytes.Equal(f, want) })
	// Sent frames are not received.
	if n := peer.Count(t, func(f []byte) bool { return bytes.Equal(f, want) }); n != 0 {
		t.Errorf("the sender received its own frame %d times", n)
	}
}
