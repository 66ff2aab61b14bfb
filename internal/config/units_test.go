package config

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	tests := []struct {
		in        string
		want      uint64
		formatted string
	}{
		{"0", 0, "0B"},
		{"0KiB", 0, "0B"},
		{"1B", 1, "1B"},
		{"1023B", 1023, "1023B"},
		{"1024B", 1024, "1KiB"},
		{"1536B", 1536, "1536B"},
		{"2560B", 2560, "2560B"},
		{"007KiB", 7 << 10, "7KiB"},
		{"3072KiB", 3 << 20, "3MiB"},
		{"1025MiB", 1025 << 20, "1025MiB"},
		{"17179869183GiB", 17179869183 << 30, "17179869183GiB"},
		{"18446744073709551615B", math.MaxUint64, "18446744073709551615B"},
		{"17179869184GiB", math.MaxUint64, "18446744073709551615B"},
		{"18446744073709551616B", math.MaxUint64, "18446744073709551615B"},
	}
	for _, tt := range tests {
		got, err := parseSize(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
		if s := formatSize(got); s != tt.formatted {
			t.Errorf("formatSize(%d) = %q, want %q", got, s, tt.formatted)
		}
	}
	for _, in := range []string{"", "1", "00", "B", "KiB", "1.0KiB", "1e3B", "+1B", "1 B", " 1B", "1B ", "1kB", "1K",
		"1KB", "1Kib", "1TiB", "1KiBB", "1KiB1", "0x10B", "1_0B", "--1B", "-B", "-1.5B"} {
		if got, err := parseSize(in); err == nil || errors.Is(err, errNegative) {
			t.Errorf("parseSize(%q) = %d, %v; want an error about its form", in, got, err)
		}
	}
	if got, err := parseSize("-1KiB"); !errors.Is(err, errNegative) {
		t.Errorf("parseSize(-1KiB) = %d, %v; want errNegative", got, err)
	}
}

func TestRate(t *testing.T) {
	for in, want := range map[string]uint64{
		"0": 0, "0/s": 0, "1/s": 1, "010/s": 10, "10000000/s": 10_000_000,
		"18446744073709551615/s": math.MaxUint64, "99999999999999999999/s": math.MaxUint64,
	} {
		got, err := parseRate(in)
		if err != nil || got != want {
			t.Errorf("parseRate(%q) = %d, %v; want %d", in, got, err, want)
		}
		if again, err := parseRate(formatRate(got)); err != nil || again != got {
			t.Errorf("parseRate(formatRate(%d)) = %d, %v", got, again, err)
		}
	}
	for _, in := range []string{"", "1", "00", "/s", "s", "1/", "1/S", "1/m", "1 /s", "1.5/s", "+1/s", "1/s/s",
		"1k/s", "--1/s"} {
		if got, err := parseRate(in); err == nil || errors.Is(err, errNegative) {
			t.Errorf("parseRate(%q) = %d, %v; want an error about its form", in, got, err)
		}
	}
	if got, err := parseRate("-5/s"); !errors.Is(err, errNegative) {
		t.Errorf("parseRate(-5/s) = %d, %v; want errNegative", got, err)
	}
}

func TestDuration(t *testing.T) {
	tests := []struct {
		in        string
		want      time.Duration
		formatted string
	}{
		{"0", 0, "0s"},
		{"0s", 0, "0s"},
		{"1ns", 1, "1ns"},
		{"10s", 10 * time.Second, "10s"},
		{"300s", 5 * time.Minute, "5m"},
		{"1500ms", 1500 * time.Millisecond, "1.5s"},
		{"610s", 610 * time.Second, "10m10s"},
		{"60m", time.Hour, "1h"},
		{"24h", 24 * time.Hour, "24h"},
		{"90m", 90 * time.Minute, "1h30m"},
		{"20h10m", 20*time.Hour + 10*time.Minute, "20h10m"},
		{"1h0m5s", time.Hour + 5*time.Second, "1h0m5s"},
		{"2562047h47m16.854775807s", math.MaxInt64, "2562047h47m16.854775807s"},
	}
	for _, tt := range tests {
		got, err := parseDuration(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("parseDuration(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
		if s := formatDuration(got); s != tt.formatted {
			t.Errorf("formatDuration(%d) = %q, want %q", got, s, tt.formatted)
		}
		if again, err := parseDuration(formatDuration(got)); err != nil || again != got {
			t.Errorf("parseDuration(formatDuration(%d)) = %d, %v", got, again, err)
		}
	}
	for _, in := range []string{"", "1", "10", "1.5", "s", "1d", "1 s", "1S", "1KiB", "9999999h"} {
		if got, err := parseDuration(in); err == nil || errors.Is(err, errNegative) {
			t.Errorf("parseDuration(%q) = %v, %v; want an error about its form", in, got, err)
		}
	}
	if got, err := parseDuration("-5s"); !errors.Is(err, errNegative) {
		t.Errorf("parseDuration(-5s) = %v, %v; want errNegative", got, err)
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"name", "name", 0},
		{"nmae", "name", 2}, {"naem", "name", 2}, {"names", "name", 1}, {"nam", "name", 1},
		{"kitten", "sitting", 3}, {"rcv_buf", "rcvbuf", 1},
	}
	for _, tt := range tests {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
