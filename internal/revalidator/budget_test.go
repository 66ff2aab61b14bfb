package revalidator

import "testing"

// TestFlowBudget settles while flows are on their way: none is forgotten.
func TestFlowBudget(t *testing.T) {
	b := NewBudget(10)
	for range 12 {
		b.Reserve()
	}
	b.Sent(6)
	b.Release()
	if got := b.Count(); got != 9 {
		t.Fatalf("count %d after 10 of 12 reservations and one refusal", got)
	}
	// The kernel has the 5 that landed and were taken, and 2 of another
	// program; one more is reserved while it is asked.
	if err := b.Recount(func() (int64, error) { b.Reserve(); return 7, nil }); err != nil {
		t.Fatal(err)
	}
	if got := b.Count(); got != 7+4+1 {
		t.Errorf("count %d, want 7 in the kernel, 4 on their way, 1 new", got)
	}
	if b.Reserve() {
		t.Error("a place beyond the limit")
	}
}
