package revalidator

import "testing"

// TestFlowBudget recounts while installations are in flight: all are counted.
func TestFlowBudget(t *testing.T) {
	b := NewBudget(10)
	for i := range 12 {
		if got := b.Ample(); got != (i <= 5) {
			t.Errorf("ample is %t with %d of 10 places taken", got, min(i, 10))
		}
		b.Reserve()
	}
	b.Sent(6)
	b.Release()
	if got := b.Count(); got != 9 {
		t.Fatalf("count %d after 10 of 12 reservations and one refusal", got)
	}
	// The kernel has 5 flows that were installed and settled, and 2 of another program; one more is
	// reserved during the query.
	if err := b.Recount(func() (int64, error) { b.Reserve(); return 7, nil }); err != nil {
		t.Fatal(err)
	}
	if got := b.Count(); got != 7+4+1 {
		t.Errorf("count %d, want 7 in the kernel, 4 in flight, 1 new", got)
	}
	if b.Reserve() {
		t.Error("a reservation above the limit")
	}
}
