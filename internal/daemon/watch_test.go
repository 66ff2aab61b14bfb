package daemon

import "testing"

// TestPulseWithoutDatapath: the wait for a datapath must make progress.
func TestPulseWithoutDatapath(t *testing.T) {
	d := &run{}
	before := d.pulse()
	if before != d.pulse() {
		t.Error("the pulse of the same wait differs")
	}
	if got := before.Rounds()[0].Count; got != 0 {
		t.Errorf("%d looks before the first", got)
	}
	d.looks.Add(1)
	if got := d.pulse().Rounds()[0].Count; got != 1 {
		t.Errorf("%d looks after one", got)
	}
}
