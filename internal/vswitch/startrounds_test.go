package vswitch

import "testing"

// TestRoundsOfTheStart: before the revalidator runs, the port poll stands for
// what the start gets done.
func TestRoundsOfTheStart(t *testing.T) {
	if got := appendRounds(nil, 3, 100, false); len(got) != 1 || got[0] != (Rounds{"port poll", 103}) {
		t.Errorf("rounds during the start %v", got)
	}
	if got := appendRounds(nil, 3, 100, true); len(got) != 2 || got[0] != (Rounds{"port poll", 3}) || got[1] != (Rounds{"revalidator", 100}) {
		t.Errorf("rounds %v", got)
	}
}
