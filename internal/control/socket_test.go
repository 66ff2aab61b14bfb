package control_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dpifd/internal/control"

	"golang.org/x/sys/unix"
)

func TestSocketFile(t *testing.T) {
	s, _, path := serve(t, func(c *control.Config) { c.Mode = 0o600; c.Group = fmt.Sprint(os.Getgid()) })
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	if err := s.GroupError(); err != nil {
		t.Errorf("own group: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder: %v, %v; want only the socket", entries, err)
	}
	again := control.Config{Path: path, Mode: 0o660, Upcalls: &backend{}, Connected: func(control.Peer) {},
		Failed: func(error) {}}
	if _, err := control.Listen(again); !errors.Is(err, control.ErrInUse) ||
		!strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a live socket: %v, want that this process serves it", err)
	}
	s.Close()
	s.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	_, err = getLevel.Ask(t.Context(), client(t, path), control.None{})
	if !errors.Is(err, control.ErrNoDaemon) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("no daemon: %v", err)
	}

	// The socket of a killed process is replaced.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := getLevel.Ask(t.Context(), client(t, path), control.None{}); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("a dead socket: %v", err)
	}
	fresh, err := control.Listen(again)
	if err != nil {
		t.Fatal(err)
	}
	// The path of another process's socket is left alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	fresh.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another process's socket: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                                  "is not a socket",
		filepath.Join(open, "s"):              "others could replace",
		filepath.Join(dir, "no", "such", "s"): "no such file or directory",
		filepath.Join(file, "s"):              "not a directory",
		filepath.Join(link, "s"):              "not a directory",
		"/" + strings.Repeat("x", 200):        "at most 107 bytes",
	} {
		_, err := control.Listen(control.Config{Path: path, Mode: 0o660, Upcalls: &backend{}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	s, _, _ := serve(t, func(c *control.Config) { c.Group = "no-such-group-here" })
	if err := s.GroupError(); err == nil || !strings.Contains(err.Error(), "no-such-group-here") {
		t.Errorf("a group that does not exist: %v", err)
	}
}

func TestFindSocket(t *testing.T) {
	dir := t.TempDir()
	for _, dir := range []string{dir, filepath.Join(dir, "absent")} {
		if _, err := control.FindSocket(dir); !errors.Is(err, control.ErrNoDaemon) {
			t.Errorf("none in %s: %v", dir, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a.checkpoint"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a.sock", "b.sock"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := control.FindSocket(dir)
		if i == 0 && (err != nil || got != path) || i == 1 && (err == nil || !strings.Contains(err.Error(), "a, b")) {
			t.Errorf("%d sockets: %s, %v", i+1, got, err)
		}
	}
}
