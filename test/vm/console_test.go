package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const mark = "lab-mark-TEST"

func TestConsole(t *testing.T) {
	const boot = "[    0.100000] Linux\r\n\n" + mark + "\r\n"
	tests := []struct {
		name, in, out string // in follows boot
		ended         bool
		trouble       int // lines
	}{
		{"lines", "one\r\ntwo\n\r\n" + mark + "\r\n", "one\ntwo\n", true, 0},
		{"last line without newline", "one\ntwo\n" + mark + "\n", "one\ntwo\n", true, 0},
		{"empty line at the end", "one\n\n\n" + mark + "\n", "one\n\n", true, 0},
		{"nothing", "\n" + mark + "\n", "", true, 0},
		{"after the mark", "one\n\n" + mark + "\n[    1.000000] Kernel panic - not syncing\n", "one\n", true, 0},
		{"mark inside a line", "x" + mark + "\ncut off", "x" + mark + "\ncut off", false, 0},
		{"from a program", "BUG: none\nKernel panic\n", "BUG: none\nKernel panic\n", false, 0},
		{"from the kernel", "[   12.345678] BUG: unable to handle page fault\n[   12.345690] Oops: 0002 [#1]\nok\n",
			"[   12.345678] BUG: unable to handle page fault\n[   12.345690] Oops: 0002 [#1]\nok\n", false, 2},
		{"within a program's line", "PASS[  3.000001][  T12] Kernel panic - not syncing: Attempted to kill init!\r\n",
			"PASS[  3.000001][  T12] Kernel panic - not syncing: Attempted to kill init!\n", false, 1},
		{"harmless", "[    2.000000] openvswitch: Open vSwitch switching datapath\n", "[    2.000000] openvswitch: Open vSwitch switching datapath\n", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, log bytes.Buffer
			c := console{out: &out, log: &log, mark: mark}
			if err := c.read(iotest.OneByteReader(strings.NewReader(boot + tt.in))); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.out {
				t.Errorf("output %q, want %q", &out, tt.out)
			}
			if want := []string{"[    0.100000] Linux"}; !c.begun || !slices.Equal(c.boot, want) {
				t.Errorf("begun %v, boot %q; want %q", c.begun, c.boot, want)
			}
			if c.ended != tt.ended || len(c.trouble) != tt.trouble {
				t.Errorf("ended %v, trouble %q; want %v and %d lines", c.ended, c.trouble, tt.ended, tt.trouble)
			}
			if !tt.ended && log.String() != boot+tt.in {
				t.Errorf("log %q, want all of it", &log)
			}
		})
	}
}

func TestConsoleOfBoot(t *testing.T) {
	var in strings.Builder
	for i := range 50 {
		fmt.Fprintf(&in, "[    0.%06d] line %d\n", i, i)
	}
	in.WriteString("[    1.000000] BUG: sleeping function\nhalf a li")
	var out bytes.Buffer
	c := console{out: &out, log: io.Discard, mark: mark}
	if err := c.read(strings.NewReader(in.String())); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 || c.begun || c.ended {
		t.Errorf("output %q, begun %v, ended %v; want none of it", &out, c.begun, c.ended)
	}
	if n := len(c.boot); n != maxBoot || c.boot[0] != "[    0.000032] line 32" || c.boot[n-1] != "half a li" {
		t.Errorf("%d lines of the boot kept: %q", n, c.boot)
	}
	if len(c.trouble) == 0 {
		t.Error("the kernel's failure was not noticed")
	}
}

// tarOf creates a tar stream of files, each with its name as its content.
func tarOf(t testing.TB, names ...string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(name)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestControl(t *testing.T) {
	first, second := tarOf(t, "./a", "./d/b"), tarOf(t, "c")
	outside := tarOf(t, "../x")
	tests := []struct {
		name, in string
		code     int
		done     bool
		err      string // part of it
		heard    []string
		files    []string
	}{
		{
			name: "all",
			in: "note no tun\nready 4.4.0\nexit 17\n" + fmt.Sprintf("files 1 %d\n%s", len(second), second) +
				fmt.Sprintf("files 0 %d\n%s", len(first), first) + "done\nnote too late\n",
			code: 17, done: true,
			heard: []string{"note no tun", "ready 4.4.0"},
			files: []string{"0/a", "0/d/b", "1/c"},
		},
		{name: "cut off", in: "ready 6.1\n", heard: []string{"ready 6.1"}},
		{name: "cut off in a line", in: "exit 1", err: "EOF"},
		{name: "unknown word", in: "exit 0\nnonsense\n", err: "unknown word"},
		{name: "bad code", in: "exit x\n", err: "invalid syntax"},
		{name: "not asked for", in: "files 2 0\n", err: "not asked for"},
		{name: "cut off in a file", in: "files 0 1024\nabc", err: "EOF"},
		{name: "outside of the folder", in: fmt.Sprintf("files 0 %d\n%s", len(outside), outside), err: "escapes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			var heard []string
			c := control{
				get:   []string{filepath.Join(dir, "0"), filepath.Join(dir, "1")},
				note:  func(s string) { heard = append(heard, "note "+s) },
				ready: func(s string) { heard = append(heard, "ready "+s) },
			}
			err := c.read(iotest.HalfReader(strings.NewReader(tt.in)))
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if tt.err == "" && (c.code != tt.code || c.done != tt.done) {
				t.Errorf("code %d, done %v; want %d, %v", c.code, c.done, tt.code, tt.done)
			}
			if !slices.Equal(heard, tt.heard) {
				t.Errorf("heard %q, want %q", heard, tt.heard)
			}
			for _, name := range tt.files {
				got, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil || !strings.HasSuffix(string(got), name[2:]) {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
				t.Error("a file was written outside of its folder")
			}
		})
	}
}

func FuzzControl(f *testing.F) {
	body := tarOf(f, "a", "b/c")
	f.Add(fmt.Appendf(nil, "ready 6.1\nexit 3\nfiles 0 %d\n%sdone\n", len(body), body))
	f.Add([]byte("files 0 -1\n"))
	f.Add([]byte("files 0 1000000000000\n"))
	f.Add([]byte("files 99999999999999999999 1\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		parent := t.TempDir()
		c := control{
			get:   []string{filepath.Join(parent, "get")},
			note:  func(string) {},
			ready: func(string) {},
		}
		if err := c.read(bytes.NewReader(in)); err != nil && c.done {
			t.Errorf("done in spite of %v", err)
		}
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "get" {
				t.Errorf("%s was written outside of the folder", e.Name())
			}
		}
	})
}
