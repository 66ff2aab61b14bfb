package epoll

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestAddEdge: an edge-triggered socket causes one event when it is added while readable, one for
// each wake-up, none for unread data, and one for data that arrived before the wait. A
// level-triggered one causes an event in each wait.
func TestAddEdge(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	edge, level := newPoller(t), newPoller(t)
	write(t, fds[1])
	if err := edge.AddEdge(fds[0], 7); err != nil {
		t.Fatal(err)
	}
	add(t, level, fds[0], 8)
	look := func(when string, edges int) {
		t.Helper()
		if got := wait(t, edge, 4); len(got) != edges || edges > 0 && got[0] != (Event{ID: 7}) {
			t.Errorf("%s: edge-triggered events %v, want %d", when, got, edges)
		}
		if got := wait(t, level, 4); len(got) != 1 || got[0].ID != 8 {
			t.Errorf("%s: level-triggered events %v, want one", when, got)
		}
	}
	look("added with a message", 1)
	look("message not read", 0)
	write(t, fds[1])
	look("second message", 1)
	look("two not read", 0)
	write(t, fds[1])
	write(t, fds[1])
	look("two more", 1)

	// Data read before the wait causes no event.
	write(t, fds[1])
	var b [1]byte
	for range 5 {
		if _, err := unix.Read(fds[0], b[:]); err != nil {
			t.Fatal(err)
		}
	}
	if got := wait(t, edge, 4); len(got) != 0 {
		t.Errorf("events %v of an empty socket", got)
	}
	if err := edge.Remove(fds[0]); err != nil {
		t.Fatal(err)
	}
	write(t, fds[1])
	if got := wait(t, edge, 4); len(got) != 0 {
		t.Errorf("events %v after Remove", got)
	}
}
