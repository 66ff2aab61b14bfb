package transport

import (
	"fmt"
	"testing"

	"dpifd/internal/odp"
	"dpifd/internal/upcall"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAttach: sockets go to the handlers with the fewest, and one that cannot be attached is closed
// without an effect on the others.
func TestAttach(t *testing.T) {
	s, _ := testSockets(t, Config{})
	handlers := startHandlers(t, s, 3)
	next := 0
	openPorts := func(n int) (socks []*Socket) {
		for range n {
			sock, err := s.Open(upcall.NewPort(odp.PortNo(next), fmt.Sprint("p", next), 0), false)
			if err != nil {
				t.Fatal(err)
			}
			socks = append(socks, sock)
			next++
		}
		return socks
	}
	count := func(socks []*Socket) [3]int {
		var owned [3]int
		for _, sock := range socks {
			owned[sock.HandlerID()]++
		}
		return owned
	}
	all := openPorts(12)
	if failed := s.Attach(all); len(failed) != 0 || count(all) != [3]int{4, 4, 4} {
		t.Errorf("12 sockets: %v, failed %v", count(all), failed)
	}
	var left []*Socket
	s.rings.used = 1000
	for _, sock := range all {
		sock.RingBytes = 7
		if sock.handler == handlers[0] {
			left = append(left, sock)
			continue
		}
		s.Detach(sock)
	}
	if s.rings.used != 1000-8*7 {
		t.Errorf("%d bytes of rings after 8 ports with 7 each were closed, of 1000", s.rings.used)
	}
	more := openPorts(11)
	broken := more[3]
	broken.Close()
	broken.RingBytes, s.rings.used = 100, 300
	if failed := s.Attach(more); len(failed) != 1 || failed[broken] == nil || s.rings.used != 200 {
		t.Errorf("failed: %v, want p15 only; %d bytes of rings", failed, s.rings.used)
	}
	// 4 and 11 sockets are spread as 5, 5, 5, including the broken one.
	if got := count(append(left, more...)); got != [3]int{5, 5, 5} {
		t.Errorf("handlers own %v, including the broken one", got)
	}
	last := openPorts(1)
	if failed := s.Attach(last); len(failed) != 0 || last[0].handler != broken.handler {
		t.Errorf("the next socket goes to handler %d, want that of the broken one, %d", last[0].HandlerID(),
			broken.HandlerID())
	}
}
