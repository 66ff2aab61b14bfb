package vswitch

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/binding"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// smallRing has 16 frames.
var smallRing = mmapring.Geometry{FrameSize: 2048, BlockSize: 8192, Blocks: 4}

// ringServer is a server that has done what needs no datapath.
func ringServer(t *testing.T, ring RingConfig) (*Server, *[]event.Event, error) {
	t.Helper()
	events := new([]event.Event)
	s := &Server{bound: binding.NewTable(), cfg: Config{Ring: ring, RcvBuf: 1 << 16, Notify: func(e event.Event) { *events = append(*events, e) }},
		channels: map[odp.PortNo]*channel{}}
	return s, events, s.probeRings()
}

func TestRingModes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		mode      RingMode
		kernel    ringtest.Config
		transport netlink.Transport
		reason    string
		unaligned bool
	}{
		{"auto with rings", RingAuto, ringtest.Config{}, netlink.Ring, "the kernel has rings", false},
		{"require with rings", RingRequire, ringtest.Config{}, netlink.Ring, "the kernel has rings", false},
		{"off with rings", RingOff, ringtest.Config{}, netlink.Linear, "rings are off", true},
		{"auto without", RingAuto, ringtest.Config{NoRings: true}, netlink.Linear, "no memory-mapped netlink", true},
		{"auto without capability", RingAuto, ringtest.Config{NoCap: true}, netlink.Linear, "CAP_NET_ADMIN", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := ringtest.New(tt.kernel)
			s, events, err := ringServer(t, RingConfig{Mode: tt.mode, Geometry: smallRing, MemoryLimit: 1 << 20, Kernel: k})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.wantedFeatures(); (got&dpif.FeatureUnaligned != 0) != tt.unaligned || got&dpif.FeatureVportPIDs == 0 {
				t.Errorf("features %v", got)
			}
			if got := s.portsAtOnce(); (got == 1) != (tt.transport == netlink.Ring) {
				t.Errorf("%d ports at once", got)
			}
			ch, err := s.openChannel(1, "eth7", dpif.VportNetdev)
			if err != nil {
				t.Fatal(err)
			}
			if got := ch.sock.Transport(); got != tt.transport || !strings.Contains(ch.reason, tt.reason) {
				t.Errorf("transport %v, %q; want %v, %q", got, ch.reason, tt.transport, tt.reason)
			}
			if want := map[netlink.Transport]uint64{netlink.Ring: smallRing.Bytes()}[tt.transport]; s.ringBytes != want || ch.ringBytes != want {
				t.Errorf("%d and %d bytes counted, want %d", s.ringBytes, ch.ringBytes, want)
			}
			s.discard(ch)
			if s.ringBytes != 0 || k.Alive() != 0 || len(*events) != 0 {
				t.Errorf("%d bytes counted, %d sockets left, events %v", s.ringBytes, k.Alive(), *events)
			}
		})
	}
}

// TestRingRequire: without a ring the start fails, with an error that says what
// was wanted and why it cannot be had.
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
		s, err := NewServer(&dpif.Datapath{}, Config{Handlers: 1, Ring: RingConfig{
			Mode: RingRequire, Geometry: smallRing, MemoryLimit: 1 << 20, Kernel: ringtest.New(tt.kernel)}})
		if s != nil || !errors.Is(err, ErrRingRequired) || !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) ||
			!strings.HasPrefix(err.Error(), "rings are required: ") {
			t.Errorf("%+v: error %v, want %v saying %q", tt.kernel, err, tt.is, tt.says)
		}
	}

	// The memory limit is no excuse at the start; later on it is one.
	s, events, err := ringServer(t, RingConfig{Mode: RingRequire, Geometry: smallRing, MemoryLimit: smallRing.Bytes(), Kernel: ringtest.New(ringtest.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.openChannel(1, "eth0", dpif.VportNetdev)
	if err != nil {
		t.Fatal(err)
	}
	defer s.discard(first)
	if _, err := s.openChannel(1, "eth1", dpif.VportNetdev); !errors.Is(err, ErrRingRequired) || !errors.Is(err, errRingLimit) || !strings.Contains(err.Error(), "port eth1") {
		t.Errorf("second port at the start: %v", err)
	}
	s.running = true
	second, err := s.openChannel(1, "eth1", dpif.VportNetdev)
	if err != nil {
		t.Fatal(err)
	}
	defer s.discard(second)
	if second.sock.Transport() != netlink.Linear || len(*events) != 1 {
		t.Errorf("second port while running: %v, events %v", second.sock.Transport(), *events)
	}
}

// TestRingMemoryLimit: ports beyond it are linear and said so, and room is there
// again when a port goes.
func TestRingMemoryLimit(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	size := smallRing.Bytes()
	s, events, err := ringServer(t, RingConfig{Mode: RingAuto, Geometry: smallRing, MemoryLimit: 2*size + size/2, Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string, want netlink.Transport) *channel {
		t.Helper()
		ch, err := s.openChannel(1, name, dpif.VportNetdev)
		if err != nil {
			t.Fatal(err)
		}
		if got := ch.sock.Transport(); got != want {
			t.Errorf("%s: transport %v, want %v", name, got, want)
		}
		return ch
	}
	a, b := open("a", netlink.Ring), open("b", netlink.Ring)
	made := k.Opened()
	c := open("c", netlink.Linear)
	if k.Opened() != made {
		t.Error("the kernel was asked for a ring beyond the limit")
	}
	if len(*events) != 1 {
		t.Fatalf("events %v", *events)
	}
	d, ok := (*events)[0].(RingDenied)
	if !ok || d.Name != "c" || !errors.Is(d.Err, errRingLimit) || d.RingBytes != size || d.UsedBytes != 2*size || d.LimitBytes != s.cfg.Ring.MemoryLimit {
		t.Errorf("event %+v", (*events)[0])
	}
	s.discard(a)
	e := open("e", netlink.Ring)
	for _, ch := range []*channel{b, c, e} {
		s.discard(ch)
	}
	if s.ringBytes != 0 {
		t.Errorf("%d bytes are still counted", s.ringBytes)
	}
}

// TestRingRefusedByKernel: the rule of the geometry is named.
func TestRingRefusedByKernel(t *testing.T) {
	s, events, err := ringServer(t, RingConfig{Mode: RingAuto, Geometry: mmapring.Geometry{FrameSize: 2562, BlockSize: 65536, Blocks: 2},
		MemoryLimit: 1 << 20, Kernel: ringtest.New(ringtest.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	ch, err := s.openChannel(1, "p", dpif.VportNetdev)
	if err != nil {
		t.Fatal(err)
	}
	defer s.discard(ch)
	if len(*events) != 1 || !strings.Contains(ch.reason, "frame_size 2562: must be a multiple of 4") || s.ringBytes != 0 {
		t.Errorf("reason %q, %d bytes, events %v", ch.reason, s.ringBytes, *events)
	}
}

// TestRingTXOfHandlers: request sockets have TX rings where these leave room for
// a port's.
func TestRingTXOfHandlers(t *testing.T) {
	g := mmapring.Geometry{FrameSize: 2560, BlockSize: 64 << 10, Blocks: 20}
	tx := uint64(txBlocks) * uint64(g.BlockSize)
	for _, tt := range []struct {
		name   string
		mode   RingMode
		kernel ringtest.Config
		limit  uint64
		want   []netlink.Transport
		reason string // of the last
	}{
		{"room", RingAuto, ringtest.Config{}, 2*tx + g.Bytes(), []netlink.Transport{netlink.Ring, netlink.Ring}, "the kernel has rings"},
		{"room for one", RingAuto, ringtest.Config{}, 2*tx + g.Bytes() - 1, []netlink.Transport{netlink.Ring, netlink.Linear}, "memory limit"},
		{"off", RingOff, ringtest.Config{}, 1 << 30, []netlink.Transport{netlink.Linear, netlink.Linear}, "rings are off"},
		{"ring.tx: off", RingAuto, ringtest.Config{}, 1 << 30, []netlink.Transport{netlink.Linear, netlink.Linear}, "TX rings are off (ring.tx)"},
		{"no TX rings", RingAuto, ringtest.Config{FailTXRing: unix.ENOPROTOOPT}, 1 << 30, []netlink.Transport{netlink.Linear, netlink.Linear}, "no memory-mapped netlink"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := ringtest.NewRequests(tt.kernel)
			s, _, err := ringServer(t, RingConfig{Mode: tt.mode, TX: tt.name != "ring.tx: off", Geometry: g, MemoryLimit: tt.limit, Kernel: k})
			if err != nil {
				t.Fatal(err)
			}
			var used uint64
			for i, want := range tt.want {
				conn, why, err := s.dialHandler()
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
			if s.ringBytes != used {
				t.Errorf("%d bytes counted, want %d", s.ringBytes, used)
			}
		})
	}
}

// TestRingOrder: configured ports get rings in the order of the file, whatever their
// numbers, then the others by number.
func TestRingOrder(t *testing.T) {
	s, _, err := ringServer(t, RingConfig{Mode: RingOff})
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Ports = []PortConfig{{Name: "c"}, {Name: "missing"}, {Name: "a"}}
	vports := []dpif.Vport{{No: 4, Name: "e"}, {No: 1, Name: "a"}, {No: 2, Name: "d"}, {No: 3, Name: "c"}}
	for _, v := range vports[1:] {
		if v.Name != "d" {
			s.bound.Set(v, v.Name)
		}
	}
	s.sortForRings(vports)
	var names []string
	for _, v := range vports {
		names = append(names, v.Name)
	}
	if want := []string{"c", "a", "d", "e"}; !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
}
