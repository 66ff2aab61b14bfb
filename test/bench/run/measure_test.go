package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCPUTimes(t *testing.T) {
	for _, c := range []struct {
		stat         string
		user, system float64
		ok           bool
	}{
		{"17 (dpifd) S 1 17 17 0 -1 4194560 900 0 3 0 125 431 0 0 20 0 7 0 1500", 1.25, 4.31, true},
		{"17 (a) b (c)) R 1 17 17 0 -1 4194560 900 0 3 0 0 7 8 9 20 0", 0, 0.07, true},
		{"17 (dpifd) S 1 17 17 0 -1 4194560 900 0 3 0 125", 0, 0, false},
		{"17 (dpifd) S 1 17 17 0 -1 4194560 900 0 3 0 x 431", 0, 0, false},
		{"", 0, 0, false},
	} {
		user, system, err := cpuTimes(c.stat)
		if (err == nil) != c.ok || c.ok && (user != c.user || system != c.system) {
			t.Errorf("%q: %v, %v, %v", c.stat, user, system, err)
		}
	}
}

func TestParseRSS(t *testing.T) {
	const rollup = "00400000-7ffd7000 ---p 00000000 00:00 0   [rollup]\nRss:               26452 kB\nPss:  25000 kB\n"
	if kib, err := parseRSS(rollup); err != nil || kib != 26452 {
		t.Errorf("%d, %v", kib, err)
	}
	if _, err := parseRSS("Pss: 3 kB"); err == nil {
		t.Error("no Rss, no error")
	}
}

func TestRanFor(t *testing.T) {
	dir := t.TempDir()
	files := filepath.Join(dir, "*", "schedstat")
	if _, err := ranFor(files); err == nil {
		t.Error("no error without threads")
	}
	for thread, stat := range map[string]string{"7": "1500000000 3 9\n", "8": "250000000 99999999999 1\n"} {
		if err := os.Mkdir(filepath.Join(dir, thread), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, thread, "schedstat"), []byte(stat), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := ranFor(files); s != 1.75 || err != nil {
		t.Errorf("%g s, %v, want 1.75 s", s, err)
	}
}
