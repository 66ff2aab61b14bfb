package transport

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// inheritRing opens a socket with a ring and leaves it as an exiting process does, with n messages
// in the ring.
func inheritRing(t *testing.T, k *ringtest.Kernel, g mmapring.Geometry, n int) (d fdstore.Descriptor, portID uint32) {
	t.Helper()
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{Ring: g, Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := k.Lookup(sock.FD()).Deliver(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	fd, ring, err := sock.Detach()
	if err != nil {
		t.Fatal(err)
	}
	name := fdstore.WithState(fdstore.Name("va", sock.PortID()), ring.String())
	return fdstore.Descriptor{FD: fd, Name: name, State: ring.String()}, sock.PortID()
}

// TestRingAdopted: an inherited ring serves its port, and counts against the limit before others;
// one that the configuration does not use serves none.
func TestRingAdopted(t *testing.T) {
	other := smallRing
	other.Blocks++
	for _, tt := range []struct {
		name    string
		mode    mmapring.Mode
		ring    mmapring.Geometry
		adopted bool
	}{
		{"auto", mmapring.ModeAuto, smallRing, true},
		{"require", mmapring.ModeRequire, smallRing, true},
		{"off", mmapring.ModeOff, smallRing, false},
		{"another size", mmapring.ModeAuto, other, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := ringtest.New(ringtest.Config{})
			d, portID := inheritRing(t, k, tt.ring, 7)
			s, events := testSockets(t, Config{Ring: ringConfig(tt.mode, k), Inherited: []fdstore.Descriptor{d}})
			found := s.inherited.found
			if want := (foundRings{rings: 1, frames: 7}); s.rings.used != tt.ring.Bytes() || found != want || len(*events) != 0 {
				t.Fatalf("%d bytes counted, found %+v, events %v", s.rings.used, found, *events)
			}
			if got := s.rings.features(); got&dpif.FeatureUnaligned != 0 {
				t.Error("unaligned is requested while a ring exists")
			}
			sock := s.Adopt(upcall.NewPort(1, "va", 0), []uint32{portID})
			if (sock != nil) != tt.adopted {
				t.Fatalf("adopted %v", sock != nil)
			}
			if sock != nil {
				if sock.RingBytes != smallRing.Bytes() || sock.Transport() != netlink.Ring || sock.RingFrames() != 16 {
					t.Errorf("socket with %d bytes, %v, %d frames", sock.RingBytes, sock.Transport(), sock.RingFrames())
				}
				s.Discard(sock)
			}
			s.DropInherited()
			if s.rings.used != 0 || k.Alive() != 0 {
				t.Errorf("%d bytes, %d sockets are left", s.rings.used, k.Alive())
			}
		})
	}
}

// TestRingRefusedState: the stored state is missing, or that of another socket.
func TestRingRefusedState(t *testing.T) {
	for _, state := range []string{"2048/8192/5/0", "nonsense"} {
		k := ringtest.New(ringtest.Config{})
		d, _ := inheritRing(t, k, smallRing, 3)
		s, events := testSockets(t, Config{Ring: ringConfig(mmapring.ModeAuto, k),
			Inherited: []fdstore.Descriptor{{FD: d.FD, State: state}}})
		if len(*events) != 1 || len(s.inherited.sockets) != 0 || s.rings.used != 0 {
			t.Errorf("%s: events %v, %d sockets, %d bytes", state, *events, len(s.inherited.sockets), s.rings.used)
		}
		if e, ok := (*events)[0].(SocketRefused); !ok || !errors.Is(e.Err, unix.EINVAL) {
			t.Errorf("%s: event %+v", state, (*events)[0])
		}
	}
}

// TestRingStored: the name of a stored ring socket gives its geometry, and the reader's position
// only during a hand-over.
func TestRingStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("FDSTORE", "8")
	store, err := fdstore.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	messages := func() (list []string) {
		for {
			buf, oob := make([]byte, 512), make([]byte, 512)
			if err := manager.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			n, oobn, _, _, err := manager.ReadMsgUnix(buf, oob)
			if err != nil {
				return list
			}
			if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 {
				if fds, err := unix.ParseUnixRights(&messages[0]); err == nil {
					unix.Close(fds[0])
				}
			}
			verb, rest, _ := strings.Cut(string(buf[:n]), "=")
			_, name, _ := strings.Cut(rest, "FDNAME=")
			_, state, _ := strings.Cut(name, "/")
			list = append(list, strings.TrimPrefix(verb, "FDSTORE")+" "+state)
		}
	}
	want := func(when string, want ...string) {
		t.Helper()
		if got := messages(); !slices.Equal(got, want) {
			t.Errorf("%s: the manager receives %q, want %q", when, got, want)
		}
	}

	k := ringtest.New(ringtest.Config{})
	cfg := Config{Ring: ringConfig(mmapring.ModeAuto, k), Store: store}
	s, _ := testSockets(t, cfg)
	p := upcall.NewPort(1, "port1", 0)
	sock, err := s.Open(p, false)
	if err != nil {
		t.Fatal(err)
	}
	pid := sock.PortID()
	s.Keep(sock)
	want("a new socket", " 2048/8192/4/-")
	startHandlers(t, s, 1)
	if failed := s.Attach([]*Socket{sock}); len(failed) != 0 {
		t.Fatal(failed)
	}
	if stay := s.HandOver([]*Socket{sock}); len(stay) != 0 || len(s.Left()) != 1 {
		t.Fatalf("%d sockets stay, %d are handed over", len(stay), len(s.Left()))
	}
	want("handed over", "REMOVE 2048/8192/4/-", " 2048/8192/4/0")

	cfg.Inherited = s.Left()
	next, _ := testSockets(t, cfg)
	again := next.Adopt(p, []uint32{pid})
	if again == nil {
		t.Fatal("not adopted")
	}
	defer next.Discard(again)
	next.Keep(again)
	want("taken over", "REMOVE 2048/8192/4/0", " 2048/8192/4/-")
	if next.store.sockets != 1 || next.store.names != len(again.stored)+1 {
		t.Errorf("%d sockets with %d bytes of names are kept", next.store.sockets, next.store.names)
	}
}
