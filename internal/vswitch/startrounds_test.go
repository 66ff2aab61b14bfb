package vswitch

import (
	"slices"
	"testing"

	"dpifd/internal/watchdog"
)

// TestRoundsOfTheStart: before the revalidator runs, only the port poll reports progress.
func TestRoundsOfTheStart(t *testing.T) {
	got := appendRounds(nil, 3, 100, false)
	if want := []watchdog.Rounds{{Name: "port poll", Count: 103}}; !slices.Equal(got, want) {
		t.Errorf("rounds during the start %v", got)
	}
	got = appendRounds(nil, 3, 100, true)
	want := []watchdog.Rounds{{Name: "port poll", Count: 3}, {Name: "revalidator", Count: 100}}
	if !slices.Equal(got, want) {
		t.Errorf("rounds %v", got)
	}
}
