package fdstore

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is the socket of a service manager.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

// next returns the next message and its descriptors.
func next(t *testing.T, conn *net.UnixConn) (string, []int) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, m := range messages {
		rights, err := unix.ParseUnixRights(&m)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, rights...)
	}
	return string(buf[:n]), fds
}

func TestStore(t *testing.T) {
	conn := manager(t)
	t.Setenv("FDSTORE", "17")
	s, err := Open()
	if err != nil || s == nil {
		t.Fatalf("store %v, %v", s, err)
	}
	defer s.Close()
	if s.Max() != 17 {
		t.Errorf("room for %d, want 17", s.Max())
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	name := Name("va", 4026531840)
	if err := s.Keep(name, pipe[1]); err != nil {
		t.Fatal(err)
	}
	unix.Close(pipe[1])
	message, fds := next(t, conn)
	if message != "FDSTORE=1\nFDPOLL=0\nFDNAME=va@4026531840" || len(fds) != 1 {
		t.Fatalf("message %q with %d descriptors", message, len(fds))
	}
	// The manager has received the pipe's end.
	if _, err := unix.Write(fds[0], []byte("x")); err != nil {
		t.Error(err)
	}
	unix.Close(fds[0])
	b := make([]byte, 2)
	if n, err := unix.Read(pipe[0], b); n != 1 || err != nil || b[0] != 'x' {
		t.Errorf("read %d, %v", n, err)
	}
	if err := s.Forget(name); err != nil {
		t.Fatal(err)
	}
	if message, fds := next(t, conn); message != "FDSTOREREMOVE=1\nFDNAME=va@4026531840" || len(fds) != 0 {
		t.Errorf("message %q with %d descriptors", message, len(fds))
	}
	for _, bad := range []string{"", "a:b", "a\nFDSTORE=1", "ü", strings.Repeat("x", 256)} {
		if err := s.Keep(bad, pipe[0]); !errors.Is(err, unix.EINVAL) {
			t.Errorf("Keep(%q): %v, want EINVAL", bad, err)
		}
		if err := s.Forget(bad); !errors.Is(err, unix.EINVAL) {
			t.Errorf("Forget(%q): %v, want EINVAL", bad, err)
		}
	}
	conn.Close()
	if err := s.Forget(name); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("without a manager: %v, want ECONNREFUSED", err)
	}
}

func TestName(t *testing.T) {
	for _, tt := range []struct{ object, want string }{
		{"va", "va@7"}, {"a:b\n c", "a_b__c@7"}, {"eth0.100", "eth0.100@7"}, {"\xffé", "___@7"}, {"", "@7"},
		{strings.Repeat("n", 300), strings.Repeat("n", 244) + "@7"},
	} {
		got := Name(tt.object, 7)
		if got != tt.want {
			t.Errorf("Name(%q) = %q, want %q", tt.object, got, tt.want)
		}
		if err := checkName(got); err != nil {
			t.Error(err)
		}
	}
}

func TestNoStore(t *testing.T) {
	manager(t)
	for _, size := range []string{"", "0", "-1", "many"} {
		t.Setenv("FDSTORE", size)
		if s, err := Open(); s != nil || err != nil {
			t.Errorf("FDSTORE=%q: store %v, %v; want none", size, s, err)
		}
	}
	t.Setenv("FDSTORE", "4")
	for _, path := range []string{"", "relative", "vsock:2:1234"} {
		t.Setenv("NOTIFY_SOCKET", path)
		if s, err := Open(); s != nil || err != nil {
			t.Errorf("NOTIFY_SOCKET=%q: store %v, %v; want none", path, s, err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", "/nonexistent/notify")
	if s, err := Open(); s != nil || !errors.Is(err, unix.ENOENT) {
		t.Errorf("a missing manager: %v, %v", s, err)
	}
}
