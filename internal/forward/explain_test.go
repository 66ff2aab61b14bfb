package forward

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

// TestExplainIsDecide explains packets before they come: the result equals the later decision, and
// explaining changes nothing.
func TestExplainIsDecide(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	macs := []odp.MAC{
		{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}, {2, 0, 0, 0, 0, 4}, {},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0, 0x5e, 0, 0, 1}, {1, 0x80, 0xc2, 0, 0, 0}, {1, 0x80, 0xc2, 0, 0, 0x10},
	}
	learning, err := NewLearning(Config{MACLimit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]policy.Policy{"learning": learning, "flood": newFlood(nil), "drop": NewDrop()} {
		t.Run(name, func(t *testing.T) {
			p.SetPorts(portList(1, 2, 9))
			reasons := map[string]int{}
			for i := range 5000 {
				in := []odp.PortNo{1, 2, 9, 4}[random.IntN(4)]
				u := &dpif.Upcall{InPort: in, Key: key(in, macs[random.IntN(len(macs))], macs[random.IntN(len(macs))])}
				before, generation := learning.Snapshot(), p.Generation()
				stats := learning.Stats()
				var asked, decided policy.Verdict
				var steps []string
				asked.Explain = func(step, found string) { steps = append(steps, step+": "+found) }
				p.Decide(u, int64(i), &asked)
				if diff := cmp.Diff(before, learning.Snapshot()) + cmp.Diff(stats, learning.Stats()); diff != "" ||
					p.Generation() != generation {
					t.Fatalf("explaining changed the MAC table or the generation:\n%s", diff)
				}
				p.Decide(u, int64(i), &decided)
				if asked.Reason != decided.Reason || asked.Install != decided.Install ||
					!bytes.Equal(asked.Actions.Bytes(), decided.Actions.Bytes()) ||
					!bytes.Equal(asked.Mask.Bytes(), decided.Mask.Bytes()) {
					t.Fatalf("packet %d: explained %s %x, decided %s %x; steps %q", i, asked.Reason, asked.Actions.Bytes(), decided.Reason,
						decided.Actions.Bytes(), steps)
				}
				if len(steps) < 2 {
					t.Fatalf("%s: only steps %q", decided.Reason, steps)
				}
				reasons[decided.Reason]++
			}
			if want := map[string]int{"learning": 5, "flood": 1, "drop": 1}[name]; len(reasons) != want {
				t.Errorf("reasons %v, want %d of them", reasons, want)
			}
		})
	}
}
