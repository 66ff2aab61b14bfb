package rundir

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	d := open(t, path)
	if _, err := d.ReadFile("a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, text := range []string{"one", "three"} {
		if err := d.WriteFile("a", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadFile("a", 10); err != nil || string(got) != text {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if got, err := d.ReadFile("a", 2); err != nil || string(got) != "th" {
		t.Errorf("limited: %q, %v", got, err)
	}
}

// TestLinks: a symbolic link in place of a file, or of its temporary file, does not lead to a
// change of its target.
func TestLinks(t *testing.T) {
	path, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	for _, name := range []string{"a", "a.new", "b.lock"} {
		if err := os.Symlink(victim, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.ReadFile("a", 10); err == nil {
		t.Error("a symbolic link is read")
	}
	if err := d.WriteFile("a", []byte("text")); err != nil {
		t.Error(err)
	}
	if l, err := d.Lock("b.lock"); err == nil {
		l.Release()
		t.Error("a symbolic link is locked")
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "mine" {
		t.Errorf("the link's target holds %q, %v", got, err)
	}
	if info, err := os.Lstat(filepath.Join(path, "a")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v: want a regular file", info, err)
	}
}

func TestDirectory(t *testing.T) {
	for mode, trusted := range map[fs.FileMode]bool{0o755: true, 0o700: true, 0o775: false, 0o757: false,
		0o777 | fs.ModeSticky: false} {
		path := t.TempDir()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path)
		if (err == nil) != trusted || err != nil && !errors.Is(err, ErrWritable) {
			t.Errorf("mode %v: %v", mode, err)
		}
		if err == nil {
			d.Close()
		}
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(link); err == nil {
			d.Close()
			t.Error("a symbolic link is taken for a directory")
		}
	}
}

func TestLock(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	for range 2 {
		l, err := d.Lock("dp0.1.lock")
		if err != nil {
			t.Fatal(err)
		}
		other, err := open(t, path).Lock("dp0.1.lock")
		var locked *LockedError
		if !errors.As(err, &locked) || locked.PID != os.Getpid() {
			t.Errorf("a second one: %v, %v", other, err)
		}
		another, err := d.Lock("dp0.2.lock")
		if err != nil {
			t.Error(err)
		}
		another.Release()
		l.Release()
		if left, err := os.ReadDir(path); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	// A child process does not inherit the lock.
	l, err := d.Lock("x")
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	l.file.Close() // as the exit of the process does
	again, err := d.Lock("x")
	if err != nil {
		t.Errorf("the lock of a process that exited: %v", err)
	}
	again.Release()
}
