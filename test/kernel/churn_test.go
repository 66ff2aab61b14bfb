//go:build lab

package kernel_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/odp"
)

// TestChurn adds and removes 500 ports at random under traffic. The daemon attaches half of them
// when their devices appear, because they are configured; another program attaches the others.
func TestChurn(t *testing.T) {
	t.Parallel()
	count, steps := 500, 400
	if perCPU {
		count, steps = 200, 200 // no socket per port
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newPatchbay(t)
	configured := stablePlugs + count/2
	d := b.run(t, settings{"ports": b.ports(configured), "log": "{stats_interval: 500ms}"})
	v := b.view(t)
	b.send(t, witnessPlug, 0, leftPlug)
	b.reach(t, leftPlug, rightPlug)
	b.reach(t, rightPlug, leftPlug)
	before := b.holdings(t, d, stablePlugs+1)

	hush := b.talk(t, rand.New(rand.NewPCG(seed, 1)))
	number := odp.PortNo(1000)
	add := func(i int) {
		b.Plug(t, i)
		if i < configured {
			return
		}
		number++ // attached by another program, which does not reuse numbers
		if _, err := v.AddVport(lab.PlugName(i), dpif.VportNetdev, number, 0); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	for _, i := range random.Perm(count) {
		add(stablePlugs + i)
	}
	full := b.holdings(t, d, stablePlugs+1+count)
	t.Logf("%d ports attached after %v: %v, %d goroutines", count, time.Since(start).Round(time.Millisecond), full.Census,
		full.goroutines)
	want := count
	if perCPU {
		want = 0 // one socket per handler
	}
	if got := full.FDs - before.FDs; got != want {
		t.Errorf("%d ports took %d fds", count, got)
	}
	for range steps {
		if i := stablePlugs + random.IntN(count); slices.Contains(b.Plugs(i), i) {
			b.Unplug(t, i)
		} else {
			add(i)
		}
	}
	t.Logf("%d changes after %v", steps, time.Since(start).Round(time.Millisecond))
	there := b.Plugs(stablePlugs)
	d.Wait(t, time.Now(), "stats", func(e lab.Event) bool { return e.Int(t, "ports") == int64(stablePlugs+1+len(there)) })
	for _, i := range there[:20] {
		b.reach(t, leftPlug, i)
		b.reach(t, i, leftPlug)
	}
	random.Shuffle(len(there), func(i, k int) { there[i], there[k] = there[k], there[i] })
	for _, i := range there {
		b.Unplug(t, i)
	}
	ids := hush()
	d.Wait(t, time.Now(), "stats", func(e lab.Event) bool { return e.Int(t, "ports") == int64(stablePlugs+1) })
	t.Logf("all removed after %v", time.Since(start).Round(time.Millisecond))
	v.checkFlows(t)
	checkLeaks(t, before, count, func() holdings { return b.holdings(t, d, stablePlugs+1) })
	missing := b.missing(ids)
	stop(t, d)
	lost := d.Events("stopped")[0].Int(t, "lost")
	t.Logf("between the stable ports %d frames are missing; the daemon counts %d lost", missing, lost)
	if int64(missing) > lost {
		t.Errorf("%d frames between ports that stayed are missing, and only %d are explained", missing, lost)
	}
	b.checkDelivery(t)
	if got := d.Events("port_failed"); len(got) != 0 {
		t.Errorf("port_failed: %v", got)
	}
}
