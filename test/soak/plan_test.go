package main

import (
	"os"
	"path/filepath"
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/lab"
)

// TestPlan: the same seed gives the same sequence of actions, another seed another, and all kinds
// of actions occur.
func TestPlan(t *testing.T) {
	const count = 5000
	sequence := func(seed uint64) ([]string, map[kind]int) {
		p, kinds := newPlan(seed, perVport), map[kind]int{}
		var all []string
		for range count {
			a := p.next()
			kinds[a.kind]++
			all = append(all, a.pause.String()+" "+a.String())
		}
		return all, kinds
	}
	one, kinds := sequence(7)
	again, _ := sequence(7)
	other, _ := sequence(8)
	same := 0
	for i := range one {
		if one[i] != again[i] {
			t.Fatalf("action %d is %q, and %q with the same seed", i, one[i], again[i])
		}
		if one[i] == other[i] {
			same++
		}
	}
	if same > count/10 {
		t.Errorf("%d of %d actions are the same with another seed", same, count)
	}
	for k, name := range kindNames {
		if kinds[k] == 0 {
			t.Errorf("no %s in %d actions", name, count)
		}
	}
	soon, p := map[kind]bool{}, newPlan(9, perVport)
	for range earlyEvery * len(early) {
		soon[p.next().kind] = true
	}
	for _, k := range early {
		if !soon[k] {
			t.Errorf("no early %s", k)
		}
	}
	sum := 0
	for _, w := range weights {
		sum += w.weight
	}
	if sum != 1000 {
		t.Errorf("the weights sum up to %d, want 1000", sum)
	}
}

// TestDispatchIsDrawn: seeds choose both dispatches about equally, and no reload changes the
// dispatch.
func TestDispatchIsDrawn(t *testing.T) {
	const seeds = 1000
	drawn := map[string]int{}
	for seed := range uint64(seeds) {
		dispatch := drawDispatch(seed)
		drawn[dispatch]++
		if again := drawDispatch(seed); again != dispatch {
			t.Fatalf("seed %d draws %s and then %s", seed, dispatch, again)
		}
	}
	for _, dispatch := range dispatches {
		if drawn[dispatch] < seeds*2/5 {
			t.Errorf("%d seeds draw %v", seeds, drawn)
		}
		if p := newPlan(1, dispatch); p.first().dispatch != dispatch || p.settings().dispatch != dispatch {
			t.Errorf("a plan with dispatch %s begins with %s and goes on with %s", dispatch, p.first().dispatch,
				p.settings().dispatch)
		}
	}
}

// TestPlugsAlternate: only unplugged plugs are plugged in, and only plugged ones are unplugged.
func TestPlugsAlternate(t *testing.T) {
	p := newPlan(11, perVport)
	there := map[int]bool{}
	for range 3000 {
		a := p.next()
		switch a.kind {
		case plug:
			if there[a.plug] {
				t.Fatalf("%v: it is plugged in already", a)
			}
			there[a.plug] = true
		case unplug, replug, linkFlap, setMTU:
			if !there[a.plug] {
				t.Fatalf("%v: it is not plugged in", a)
			}
			there[a.plug] = a.kind != unplug
		default:
			continue
		}
		if a.plug < stablePlugs || a.plug >= allPlugs {
			t.Fatalf("%v: not a churning plug", a)
		}
	}
}

// TestFiles: generated files are valid, and spoiled ones invalid.
func TestFiles(t *testing.T) {
	p := newPlan(3, perCPU)
	file := filepath.Join(t.TempDir(), "dpifd.yaml")
	load := func(text string) error {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(file)
		return err
	}
	for i := range 200 {
		good := p.settings().text([]string{"plug-0", "plug-1"})
		if err := load(good); err != nil {
			t.Errorf("%v; the file:\n%s", err, good)
		}
		if bad := lab.Spoil(good, i%lab.SpoilWays); load(bad) == nil {
			t.Errorf("way %d leaves the file valid:\n%s", i%lab.SpoilWays, bad)
		}
	}
}
