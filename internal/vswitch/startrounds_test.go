package vswitch

import (
	"slices"
	"testing"
)

// TestRoundsOfTheStart: before the revalidator runs, the port poll stands for
// what the start gets done.
func TestRoundsOfTheStart(t *testing.T) {
	if got := appendRounds(nil, 3, 100, false); len(got) != 1 || got[0] != (Rounds{"port poll", 103}) {
		t.Errorf("rounds during the start %v", got)
	}
	got := appendRounds(nil, 3, 100, true)
	if want := []Rounds{{"port poll", 3}, {"revalidator", 100}}; !slices.Equal(got, want) {
		t.Errorf("rounds %v", got)
	}
}
