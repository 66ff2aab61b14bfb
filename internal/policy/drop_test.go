package policy

import (
	"testing"

	"dpifd/internal/odp"
)

func TestFlowActions(t *testing.T) {
	output := func(v *Verdict) { odp.AppendOutput(&v.Actions, 3) }
	refuse := func(v *Verdict) { v.Refused = true }
	for _, c := range []struct {
		name    string
		hasDrop bool
		decide  func(*Verdict)
		want    string
	}{
		{"output", true, output, "3"}, {"output, without the action", false, output, "3"},
		{"nowhere", true, func(*Verdict) {}, "drop(0)"}, {"nowhere, without the action", false, func(*Verdict) {}, "drop"},
		{"refused", true, refuse, "drop(1)"}, {"refused, without the action", false, refuse, "drop"},
	} {
		var v Verdict
		c.decide(&v)
		if got := string(odp.Text{}.AppendActions(nil, v.FlowActions(c.hasDrop))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if v.Clear(); v.Refused {
			t.Errorf("%s: Refused is left", c.name)
		}
	}
}
