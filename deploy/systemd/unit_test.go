// Package systemd_test checks the unit files with systemd's own tool.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/fdstore"
)

// execStart is the daemon's path in the units; the daemon need not be installed where the test
// runs.
const execStart = "/usr/sbin/dpifd"

// maxExposure is the maximum exposure level of systemd-analyze security.
const maxExposure = 1.5

// analyzer returns the path of systemd-analyze.
func analyzer(t *testing.T) string {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("systemd-analyze is not installed")
	}
	return tool
}

// verify runs systemd-analyze verify on a unit with the given name and text, and on a drop-in
// unless that is empty. It returns the output, which is empty for a valid unit.
func verify(t *testing.T, name, text, dropIn string) (string, error) {
	t.Helper()
	tool := analyzer(t)
	dir := t.TempDir()
	binary := filepath.Join(dir, "dpifd")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, name)
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, execStart, binary)), 0o644); err != nil {
		t.Fatal(err)
	}
	if dropIn != "" {
		if err := os.Mkdir(unit+".d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(unit+".d", "test.conf"), []byte(dropIn), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Without man pages Documentation= cannot be checked.
	out, err := exec.Command(tool, "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput()
	return string(out), err
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestVerify(t *testing.T) {
	for _, tt := range []struct{ file, name, dropIn string }{
		{"dpifd.service", "dpifd.service", ""},
		{"dpifd@.service", "dpifd@blue.service", ""},
		{"dpifd.service", "dpifd.service", read(t, "dpifd-netns.conf")},
		{"dpifd.service", "dpifd.service", "[Service]\nNetworkNamespacePath=/run/netns/x\n"},
	} {
		if out, err := verify(t, tt.name, read(t, tt.file), tt.dropIn); err != nil || out != "" {
			t.Errorf("systemd-analyze verify %s: %v\n%s", tt.name, err, out)
		}
	}
}

// TestVerifyFindsMistakes checks that verify can fail.
func TestVerifyFindsMistakes(t *testing.T) {
	unit := read(t, "dpifd.service")
	for _, edit := range [][2]string{
		{"ProtectSystem=strict", "ProtectSystem=very"},
		{"RestrictRealtime=", "RestrictRealTime="},
		{execStart, "/usr/sbin/no-such-daemon"},
		{"Type=notify\n", "Type=notfiy\n"},
		{"RestartKillSignal=SIGUSR2", "RestartKillSignal=SIGUSR3"},
	} {
		wrong := strings.ReplaceAll(unit, edit[0], edit[1])
		if wrong == unit {
			t.Fatalf("the unit has no %s", edit[0])
		}
		if out, err := verify(t, "dpifd.service", wrong, ""); err == nil && out == "" {
			t.Errorf("systemd-analyze verify accepts %s", edit[1])
		}
	}
	if out, err := verify(t, "dpifd.service", unit, "[Service]\nRestrictNamespaces=nett\n"); err == nil && out == "" {
		t.Error("systemd-analyze verify accepts a wrong drop-in")
	}
}

// exposure runs systemd-analyze security on a unit with the given text.
func exposure(t *testing.T, text string) float64 {
	t.Helper()
	unit := filepath.Join(t.TempDir(), "dpifd.service")
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyzer(t), "security", "--offline=true", "--no-pager", unit).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for dpifd\.service: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	level, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return level
}

func TestExposure(t *testing.T) {
	unit := read(t, "dpifd.service")
	level := exposure(t, unit)
	t.Logf("exposure %.1f", level)
	if level > maxExposure {
		t.Errorf("exposure %.1f, want %.1f at most", level, maxExposure)
	}
	lax := regexp.MustCompile(`(?m)^(SystemCallFilter|Protect\w+)=.*\n`).ReplaceAllString(unit, "")
	if level := exposure(t, lax); level <= maxExposure {
		t.Errorf("exposure %.1f of a unit without protection", level)
	}
}

// TestSettings checks the settings that the daemon relies on, and those that it must not have.
func TestSettings(t *testing.T) {
	text := read(t, "dpifd.service")
	lines := strings.Split(text, "\n")
	store := strconv.Itoa(fdstore.MaxDescriptors)
	for _, want := range []string{
		"Type=notify",
		"ExecStart=/usr/sbin/dpifd run --config /etc/dpifd/dpifd.yaml",
		"Restart=always",
		"RestartKillSignal=SIGUSR2",
		"FileDescriptorStoreMax=" + store,
		"Environment=FDSTORE=" + store,
		"WatchdogSec=30s",
		"User=dpifd",
		"CapabilityBoundingSet=CAP_NET_ADMIN",
		"AmbientCapabilities=CAP_NET_ADMIN",
		"RuntimeDirectory=dpifd",
		"RuntimeDirectoryPreserve=yes",
		"RestrictAddressFamilies=AF_NETLINK AF_UNIX",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the unit has no line %q", want)
		}
	}
	for _, name := range []string{"dpifd.service", "dpifd@.service", "dpifd-netns.conf"} {
		for line := range strings.Lines(read(t, name)) {
			// In its own user or network namespace it could not access the host's datapath.
			for _, never := range []string{"PrivateNetwork=", "PrivateUsers=", "KillSignal="} {
				if strings.HasPrefix(line, never) {
					t.Errorf("%s has %q", name, line)
				}
			}
			if !strings.HasPrefix(line, "#") && strings.Contains(line, "CAP_SYS_MODULE") {
				t.Errorf("%s has %q", name, line)
			}
		}
	}
	if strings.Contains(regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, ""), "CAP_SYS_ADMIN") {
		t.Error("the unit has CAP_SYS_ADMIN")
	}
}

// TestInstances: the template equals the unit except for the configuration file.
func TestInstances(t *testing.T) {
	unit, template := read(t, "dpifd.service"), read(t, "dpifd@.service")
	want := strings.Replace(unit, "/etc/dpifd/dpifd.yaml", "/etc/dpifd/%i.yaml", 2)
	want = strings.Replace(want, "kernel datapath\n", "kernel datapath, %i\n", 1)
	if template != want {
		t.Error("dpifd@.service differs from dpifd.service in more than the name of the configuration file")
	}
}
