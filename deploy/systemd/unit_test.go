// Package systemd_test checks the unit file with systemd's own tool.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// execStart is where the unit expects the daemon, which need not be installed
// where the test runs.
const execStart = "/usr/sbin/dpifd"

// verify runs systemd-analyze verify over a unit with the given text, and
// returns what it says: nothing, if the unit is clean.
func verify(t *testing.T, text string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "dpifd")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, "dpifd.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, execStart, binary)), 0o644); err != nil {
		t.Fatal(err)
	}
	// Without man pages there is nothing to check of Documentation=.
	out, err := exec.Command(tool, "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput()
	return string(out), err
}

func readUnit(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("dpifd.service")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestVerify(t *testing.T) {
	if out, err := verify(t, readUnit(t)); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestVerifyFindsMistakes shows that a clean verdict means something.
func TestVerifyFindsMistakes(t *testing.T) {
	unit := readUnit(t)
	for _, edit := range [][2]string{
		{"ProtectSystem=strict", "ProtectSystem=very"},
		{"RestrictRealtime=", "RestrictRealTime="},
		{execStart, "/usr/sbin/no-such-daemon"},
		{"Type=notify", "Type=notfiy"},
	} {
		wrong := strings.ReplaceAll(unit, edit[0], edit[1])
		if wrong == unit {
			t.Fatalf("the unit has no %s", edit[0])
		}
		if out, err := verify(t, wrong); err == nil && out == "" {
			t.Errorf("systemd-analyze verify takes %s", edit[1])
		}
	}
}

// TestSettings holds what the daemon relies on and what it must not be given.
func TestSettings(t *testing.T) {
	lines := strings.Split(readUnit(t), "\n")
	for _, want := range []string{
		"Type=notify",
		"ExecStart=/usr/sbin/dpifd run --config /etc/dpifd/dpifd.yaml",
		"Restart=on-failure",
		"CapabilityBoundingSet=CAP_NET_ADMIN",
		"AmbientCapabilities=CAP_NET_ADMIN",
		"RestrictAddressFamilies=AF_NETLINK AF_UNIX",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the unit has no line %q", want)
		}
	}
	for _, line := range lines {
		// In a user or network namespace of its own it has no power over the
		// datapath of the host.
		if strings.HasPrefix(line, "PrivateNetwork=") || strings.HasPrefix(line, "PrivateUsers=") {
			t.Errorf("the unit has %q", line)
		}
	}
}
