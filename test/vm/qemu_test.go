package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeQEMU replaces QEMU by a shell script. Descriptors 3 and 4 are the serial ports.
func fakeQEMU(t *testing.T, script string) {
	dir := t.TempDir()
	file := filepath.Join(dir, "qemu-system-x86_64")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestVM(t *testing.T) {
	const up = "echo booting >&3; printf '\\n" + mark + "\\n' >&3; echo ready 4.1.6 >&4\n"
	const end = "printf '\\n" + mark + "\\n' >&3\n"
	tests := []struct {
		name, script, out string
		code              int
		err               string // expected part
	}{
		{"exit code", up + "echo hello >&3\n" + end + "echo exit 42 >&4; echo done >&4; exec sleep 1000", "hello\n", 42, ""},
		{"dies while the program runs", up + "echo hel >&3; echo bad device >&2", "hel\n", exitLab, "before the program did\nbad device"},
		{"dies before all files came", up + end + "echo exit 0 >&4", "", exitLab, "before the program did"},
		{"dies while it boots", "echo half way >&3", "", exitLab, "ends in:\n  half way"},
		{"does not start", "echo no such machine >&2; exit 1", "", exitLab, "no such machine"},
		{"nonsense", up + end + "echo exit zero >&4", "", exitLab, "exit zero"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fakeQEMU(t, tt.script)
			var out bytes.Buffer
			v := newTestVM(&out)
			code, err := v.run(context.Background(), nil)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if code != tt.code || out.String() != tt.out {
				t.Errorf("code %d, output %q; want %d, %q", code, &out, tt.code, tt.out)
			}
		})
	}
}

func TestVMDoesNotBoot(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		booted       bool
	}{
		{"once", "[ -e again ] || { touch again; echo stuck >&3; exec sleep 1000; }; echo ready >&4; printf '" + mark + "\\nhello\\n" + mark + "\\n' >&3; echo exit 7 >&4; echo done >&4", true},
		{"never", "echo stuck >&3; exec sleep 1000", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			fakeQEMU(t, tt.script)
			var out, log bytes.Buffer
			// Long enough for a shell to start on a busy machine.
			g := guest{mark: mark, bootLimit: 2 * time.Second, timeout: time.Minute, out: &out, log: &log}
			code, err := g.run(context.Background())
			if tt.booted {
				if code != 7 || err != nil || out.String() != "hello\n" {
					t.Errorf("code %d, error %v, output %q; want 7 and the program's hello", code, err, &out)
				}
			} else if code != exitLab || !errors.Is(err, errNotBooted) || !strings.Contains(err.Error(), "stuck") {
				t.Errorf("code %d, error %v; want errNotBooted with the last message", code, err)
			}
			if n := strings.Count(log.String(), "stuck"); n == 0 || n == boots == tt.booted {
				t.Errorf("log %q has %d boots that hung", &log, n)
			}
		})
	}
}

func newTestVM(out io.Writer) *vm {
	v := &vm{
		console: console{out: out, log: io.Discard, mark: mark},
		control: control{note: func(string) {}},
		booted:  make(chan struct{}), bootLimit: time.Minute,
	}
	v.control.ready = func(string) { close(v.booted) }
	return v
}

// TestVMTimeout: the program's time limit starts when the guest is up.
func TestVMTimeout(t *testing.T) {
	fakeQEMU(t, "sleep 1; echo ready >&4; exec sleep 1000")
	g := guest{mark: mark, bootLimit: time.Minute, timeout: 50 * time.Millisecond, out: io.Discard, log: io.Discard}
	if code, err := g.run(context.Background()); code != exitTimeout || err == nil ||
		!strings.Contains(err.Error(), "timeout") {
		t.Errorf("code %d, error %v; want a timeout", code, err)
	}
}

func TestVMCancelled(t *testing.T) {
	fakeQEMU(t, "echo ready >&4; exec sleep 1000")
	ctx, cancel := context.WithCancel(context.Background())
	v := newTestVM(io.Discard)
	v.control.ready = func(string) { close(v.booted); cancel() }
	if code, err := v.run(ctx, nil); code == 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("code %d, error %v; want an error with \"cancelled\"", code, err)
	}
}

func TestQEMUArgs(t *testing.T) {
	o := options{memoryMiB: 768, cpus: 3, timeout: time.Minute}
	args, err := qemuArgs("tcg", o, "/k", "/i")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	for _, want := range []string{"-accel tcg,thread=multi", "-cpu max,-cx16,-erms,-fsrm", "-m 768", "-smp 3",
		"-kernel /k", "-initrd /i", "-no-reboot"} {
		if !strings.Contains(line, want) {
			t.Errorf("arguments lack %q: %s", want, line)
		}
	}
	if _, err := qemuArgs("icount", o, "/k", "/i"); err == nil {
		t.Error("icount was accepted with three CPUs")
	}
	o.cpus = 1
	if args, err = qemuArgs("icount", o, "/k", "/i"); err != nil ||
		!strings.Contains(strings.Join(args, " "), "-icount shift=1") {
		t.Errorf("icount: %v, %v", args, err)
	}
	if _, err := qemuArgs("hvf", o, "/k", "/i"); err == nil {
		t.Error("an unknown accelerator was accepted")
	}
}
