package transport

import (
	"errors"
	"strings"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// smallRing has 16 frames.
var smallRing = mmapring.Geometry{FrameSize: 2048, BlockSize: 8192, Blocks: 4}

// testSockets returns Sockets with rings as configured, and their events.
func testSockets(t *testing.T, cfg Config) (*Sockets, *[]event.Event) {
	t.Helper()
	events := new([]event.Event)
	cfg.RcvBuf, cfg.Notify = 1<<16, func(e event.Event) { *events = append(*events, e) }
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, events
}

// ringConfig allows many small rings.
func ringConfig(mode mmapring.Mode, k netlink.RingKernel) RingConfig {
	return RingConfig{Mode: mode, Geometry: smallRing, MemoryLimit: 1 << 20, Kernel: k}
}

// open opens the socket of a port.
func open(t *testing.T, s *Sockets, name string) *Socket {
	t.Helper()
	sock, err := s.Open(upcall.NewPort(1, name, 0), false)
	if err != nil {
		t.Fatal(err)
	}
	return sock
}

func TestRingModes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		mode      mmapring.Mode
		kernel    ringtest.Config
		transport netlink.Transport
		reason    string
		unaligned bool
	}{
		{"auto with rings", mmapring.ModeAuto, ringtest.Config{}, netlink.Ring, "the kernel has rings", false},
		{"require with rings", mmapring.ModeRequire, ringtest.Config{}, netlink.Ring, "the kernel has rings", false},
		{"off with rings", mmapring.ModeOff, ringtest.Config{}, netlink.Linear, "rings are off", true},
		{"auto without", mmapring.ModeAuto, ringtest.Config{NoRings: true}, netlink.Linear, "no memory-mapped netlink", true},
		{"auto without capability", mmapring.ModeAuto, ringtest.Config{NoCap: true}, netlink.Linear, "CAP_NET_ADMIN", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := ringtest.New(tt.kernel)
			s, events := testSockets(t, Config{Ring: ringConfig(tt.mode, k)})
			if got := s.rings.features(); (got&dpif.FeatureUnaligned != 0) != tt.unaligned || got&dpif.FeatureVportPIDs == 0 {
				t.Errorf("features %v", got)
			}
			if s.HasRings() != (tt.transport == netlink.Ring) {
				t.Errorf("has rings: %v", s.HasRings())
			}
			sock := open(t, s, "eth7")
			if got := sock.Transport(); got != tt.transport || !strings.Contains(sock.Reason, tt.reason) {
				t.Errorf("transport %v, %q; want %v, %q", got, sock.Reason, tt.transport, tt.reason)
			}
			want := map[netlink.Transport]uint64{netlink.Ring: smallRing.Bytes()}[tt.transport]
			if s.rings.used != want || sock.RingBytes != want {
				t.Errorf("%d and %d bytes counted, want %d", s.rings.used, sock.RingBytes, want)
			}
			s.Discard(sock)
			if s.rings.used != 0 || k.Alive() != 0 || len(*events) != 0 {
				t.Errorf("%d bytes counted, %d sockets left, events %v", s.rings.used, k.Alive(), *events)
			}
		})
	}
}

// TestRingRequire: if a required ring is not available, the start fails with an error that names
// the socket and the reason.
func TestRingRequire(t *testing.T) {
	for _, tt := range []struct {
		kernel ringtest.Config
		is     error
		says   string
	}{
		{ringtest.Config{NoRings: true}, mmapring.ErrNotSupported, "protocol not available"},
		{ringtest.Config{NoCap: true}, unix.EPERM, "CAP_NET_ADMIN"},
		{ringtest.Config{FailMmap: unix.ENOMEM}, unix.ENOMEM, "mmap"},
	} {
		s, err := New(Config{Ring: ringConfig(mmapring.ModeRequire, ringtest.New(tt.kernel))})
		if s != nil || !errors.Is(err, ErrRingRequired) || !errors.Is(err, tt.is) ||
			!strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "rings are required: ") {
			t.Errorf("%+v: error %v, want %v saying %q", tt.kernel, err, tt.is, tt.says)
		}
	}

	// At start the memory limit is an error too; later it is not.
	cfg := ringConfig(mmapring.ModeRequire, ringtest.New(ringtest.Config{}))
	cfg.MemoryLimit = smallRing.Bytes()
	s, events := testSockets(t, Config{Ring: cfg})
	first := open(t, s, "eth0")
	defer s.Discard(first)
	_, err := s.Open(upcall.NewPort(1, "eth1", 0), false)
	if !errors.Is(err, ErrRingRequired) || !errors.Is(err, errRingLimit) || !strings.Contains(err.Error(), "port eth1") {
		t.Errorf("second port at the start: %v", err)
	}
	second, err := s.Open(upcall.NewPort(1, "eth1", 0), true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Discard(second)
	if second.Transport() != netlink.Linear || len(*events) != 1 {
		t.Errorf("second port while running: %v, events %v", second.Transport(), *events)
	}
}

// TestRingMemoryLimit: ports above the limit are linear and reported, and a removed port frees its
// share.
func TestRingMemoryLimit(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	size := smallRing.Bytes()
	cfg := ringConfig(mmapring.ModeAuto, k)
	cfg.MemoryLimit = 2*size + size/2
	s, events := testSockets(t, Config{Ring: cfg})
	openAs := func(name string, want netlink.Transport) *Socket {
		t.Helper()
		sock := open(t, s, name)
		if got := sock.Transport(); got != want {
			t.Errorf("%s: transport %v, want %v", name, got, want)
		}
		return sock
	}
	a, b := openAs("a", netlink.Ring), openAs("b", netlink.Ring)
	made := k.Opened()
	c := openAs("c", netlink.Linear)
	if k.Opened() != made {
		t.Error("a ring above the limit was requested")
	}
	if len(*events) != 1 {
		t.Fatalf("events %v", *events)
	}
	d, ok := (*events)[0].(RingDenied)
	if !ok || d.Name != "c" || !errors.Is(d.Err, errRingLimit) || d.RingBytes != size || d.UsedBytes != 2*size ||
		d.LimitBytes != cfg.MemoryLimit {
		t.Errorf("event %+v", (*events)[0])
	}
	s.Discard(a)
	e := openAs("e", netlink.Ring)
	s.Discard(b, c, e)
	if s.rings.used != 0 {
		t.Errorf("%d bytes are still counted", s.rings.used)
	}
}

// TestRingRefusedByKernel: the error names the violated rule of the geometry.
func TestRingRefusedByKernel(t *testing.T) {
	cfg := ringConfig(mmapring.ModeAuto, ringtest.New(ringtest.Config{}))
	cfg.Geometry = mmapring.Geometry{FrameSize: 2562, BlockSize: 65536, Blocks: 2}
	s, events := testSockets(t, Config{Ring: cfg})
	sock := open(t, s, "p")
	defer s.Discard(sock)
	const rule = "frame_size 2562: must be a multiple of 4"
	if len(*events) != 1 || !strings.Contains(sock.Reason, rule) || s.rings.used != 0 {
		t.Errorf("reason %q, %d bytes, events %v", sock.Reason, s.rings.used, *events)
	}
}

// TestTXGeometry: frames are as large as blocks allow.
func TestTXGeometry(t *testing.T) {
	shape := func(frame, block, blocks uint32) mmapring.Geometry {
		return mmapring.Geometry{FrameSize: frame, BlockSize: block, Blocks: blocks}
	}
	for _, tt := range []struct{ rx, want mmapring.Geometry }{
		{shape(2560, 64<<10, 256), shape(16<<10, 64<<10, 8)},
		{shape(2560, 4<<10, 3), shape(4<<10, 4<<10, 3)},
		{shape(64<<10, 64<<10, 256), shape(64<<10, 64<<10, 8)},
	} {
		if got := txGeometry(tt.rx); got != tt.want || got.Validate(4096) != nil {
			t.Errorf("for %+v: %+v, want %+v", tt.rx, got, tt.want)
		}
	}
}

// TestRingTXOfHandlers: request sockets get TX rings if the limit leaves room for a port's ring.
func TestRingTXOfHandlers(t *testing.T) {
	g := mmapring.Geometry{FrameSize: 2560, BlockSize: 64 << 10, Blocks: 20}
	tx := uint64(txBlocks) * uint64(g.BlockSize)
	both := func(tr netlink.Transport) []netlink.Transport { return []netlink.Transport{tr, tr} }
	for _, tt := range []struct {
		name   string
		mode   mmapring.Mode
		kernel ringtest.Config
		limit  uint64
		want   []netlink.Transport
		reason string // reason of the last
	}{
		{"room", mmapring.ModeAuto, ringtest.Config{}, 2*tx + g.Bytes(), both(netlink.Ring), "the kernel has rings"},
		{"room for one", mmapring.ModeAuto, ringtest.Config{}, 2*tx + g.Bytes() - 1,
			[]netlink.Transport{netlink.Ring, netlink.Linear}, "memory limit"},
		{"off", mmapring.ModeOff, ringtest.Config{}, 1 << 30, both(netlink.Linear), "rings are off"},
		{"ring.tx: off", mmapring.ModeAuto, ringtest.Config{}, 1 << 30, both(netlink.Linear), "TX rings are off (ring.tx)"},
		{"no TX rings", mmapring.ModeAuto, ringtest.Config{FailTXRing: unix.ENOPROTOOPT}, 1 << 30,
			both(netlink.Linear), "no memory-mapped netlink"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := ringtest.NewRequests(tt.kernel)
			s, _ := testSockets(t, Config{Ring: RingConfig{Mode: tt.mode, TX: tt.name != "ring.tx: off", Geometry: g,
				MemoryLimit: tt.limit, Kernel: k}})
			var used uint64
			for i, want := range tt.want {
				conn, why, err := s.Dial(netlink.Config{})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if got := conn.Transport(); got != want || i == len(tt.want)-1 && !strings.Contains(why, tt.reason) {
					t.Errorf("handler %d: %v, %q; want %v, %q", i, got, why, want, tt.reason)
				}
				if want == netlink.Ring {
					used += tx
				}
			}
			if s.rings.used != used {
				t.Errorf("%d bytes counted, want %d", s.rings.used, used)
			}
		})
	}
}
