package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

func TestArchive(t *testing.T) {
	src := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(src, "real", "sub"), 0o755),
		os.WriteFile(filepath.Join(src, "real", "tool"), []byte("#!"), 0o750),
		os.WriteFile(filepath.Join(src, "real", "sub", "data"), []byte("12345"), 0o604),
		os.Symlink("tool", filepath.Join(src, "real", "alias")),
		os.Symlink("real", filepath.Join(src, "named")),
	); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.cpio")
	a, err := createArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	a.copy(filepath.Join(src, "named"), "/opt/x")
	a.bytes("/opt/y/init", []byte("run"), 0o755)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}

	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The kernel does not create parent folders: each folder must come once, before its contents.
	want := []string{
		"opt 040755 ", "opt/x 040755 ", "opt/x/alias 0120777 tool", "opt/x/sub 040755 ",
		"opt/x/sub/data 0100604 12345", "opt/x/tool 0100750 #!", "opt/y 040755 ", "opt/y/init 0100755 run",
	}
	var got []string
	for r := cpio.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Linkname != "" {
			body = []byte(h.Linkname)
		}
		got = append(got, fmt.Sprintf("%s %#o %s", h.Name, uint(h.Mode), body))
	}
	if !slices.Equal(got, want) {
		t.Errorf("archive:\n%q\nwant:\n%q", got, want)
	}
	// Archives are concatenated, and the kernel expects the next one at a multiple of 4.
	if info, err := f.Stat(); err != nil || info.Size()%4 != 0 {
		t.Errorf("size %d is no multiple of 4 (%v)", info.Size(), err)
	}
}

func TestArchiveKeepsFirstError(t *testing.T) {
	a, err := createArchive(filepath.Join(t.TempDir(), "a.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	a.copy(filepath.Join(t.TempDir(), "absent"), "/x")
	a.bytes("/y", nil, 0o644)
	if err := a.close(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want that of the missing file", err)
	}
}

func TestUsrMerged(t *testing.T) {
	for in, want := range map[string]string{
		"/sbin/dpifd":                 "/usr/bin/dpifd",
		"/usr/sbin/ip":                "/usr/bin/ip",
		"/lib64/ld-linux-x86-64.so.2": "/usr/lib64/ld-linux-x86-64.so.2",
		"lib/modules/6.1":             "/usr/lib/modules/6.1",
		"/var/run/netns/x":            "/run/netns/x",
		"/etc/../bin/sh":              "/usr/bin/sh",
		"/binary/x":                   "/binary/x",
	} {
		if got := usrMerged(in); got != want {
			t.Errorf("usrMerged(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	words := []string{"plain", "two words", "", "it's", `$HOME "x" \n`, "*", "a\nb", "''"}
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+quote(words...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, words) {
		t.Errorf("the shell reads %q, want %q", got, words)
	}
}

func TestModuleClosure(t *testing.T) {
	const dep = `kernel/net/openvswitch/openvswitch.ko: kernel/net/nsh/nsh.ko kernel/lib/libcrc32c.ko
kernel/net/nsh/nsh.ko:
kernel/lib/libcrc32c.ko:
kernel/net/openvswitch/vport-vxlan.ko.xz: kernel/drivers/net/vxlan.ko.xz kernel/net/openvswitch/openvswitch.ko kernel/lib/libcrc32c.ko
kernel/drivers/net/vxlan.ko.xz:
kernel/drivers/net/dummy.ko:
# Aliases extracted from modules themselves.
alias net-pf-16 openvswitch
`
	got := moduleClosure(dep, []string{"vport_vxlan", "openvswitch", "built_in"})
	want := []string{
		"kernel/drivers/net/vxlan.ko.xz", "kernel/lib/libcrc32c.ko", "kernel/net/nsh/nsh.ko",
		"kernel/net/openvswitch/openvswitch.ko", "kernel/net/openvswitch/vport-vxlan.ko.xz",
	}
	// The line of vport-vxlan does not list nsh; openvswitch's own line adds it.
	if !slices.Equal(got, want) {
		t.Errorf("closure %q, want %q", got, want)
	}
}

func TestModuleVersion(t *testing.T) {
	base := t.TempDir()
	for name, ok := range map[string]bool{"4.4.0-mmap": true, "6.1.0-56-cloud-amd64": true, "modules": false} {
		tree := filepath.Join(base, name)
		if err := os.Mkdir(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		got, err := moduleVersion(tree)
		if ok && (err != nil || got != name) || !ok && err == nil {
			t.Errorf("moduleVersion(%s) = %q, %v", name, got, err)
		}
	}
}

func TestSelectPackages(t *testing.T) {
	const plan = `Reading package lists...
Inst libc6 (2.36-9 Debian:12 [amd64])
Inst zlib1g (1:1.2.13 Debian:12 [amd64])
Inst libpython3.11-stdlib (3.11.2 Debian:12 [amd64])
Inst perl-base (5.36 Debian:12 [amd64])
Inst linux-image-6.1.0-9-cloud-amd64 (6.1.9-1 Debian:12 [amd64])
Inst tcpdump (4.99.3-1 Debian:12 [amd64])
Conf tcpdump (4.99.3-1 Debian:12 [amd64])
`
	want := []string{"libc6=2.36-9", "zlib1g=1:1.2.13", "linux-image-6.1.0-9-cloud-amd64=6.1.9-1", "tcpdump=4.99.3-1"}
	if got := selectPackages(plan, packages); !slices.Equal(got, want) {
		t.Errorf("selected %q, want %q", got, want)
	}
}

// TestLibraries uses this machine's shell.
func TestLibraries(t *testing.T) {
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	libs, err := libraries("/", []string{shell})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for guest, host := range libs {
		names = append(names, filepath.Base(guest))
		if info, err := os.Lstat(host); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %s is not a regular file (%v)", guest, host, err)
		}
	}
	for _, want := range []string{"ld-linux-x86-64.so.2", "libc.so.6"} {
		if !slices.Contains(names, want) {
			t.Errorf("libraries of %s: %q lack %s", shell, names, want)
		}
	}
	if _, err := libraries(t.TempDir(), []string{shell}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with an empty root: %v, want a missing library", err)
	}
}

func TestResolve(t *testing.T) {
	root := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(root, "usr/lib"), 0o755),
		os.WriteFile(filepath.Join(root, "usr/lib/x.so.1.2"), nil, 0o644),
		os.Symlink("x.so.1.2", filepath.Join(root, "usr/lib/x.so.1")),
		os.Symlink("/usr/lib/x.so.1", filepath.Join(root, "abs")),
		os.Symlink("/etc/passwd", filepath.Join(root, "outside")),
		os.Symlink("loop", filepath.Join(root, "loop")),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"abs": "usr/lib/x.so.1.2", "usr/lib/x.so.1": "usr/lib/x.so.1.2", "outside": "", "loop": "", "absent": "",
	} {
		got, err := resolve(root, name)
		if want == "" && err == nil || want != "" && (err != nil || got != filepath.Join(root, want)) {
			t.Errorf("resolve(%s) = %s, %v; want %q below the root", name, got, err, want)
		}
	}
}
