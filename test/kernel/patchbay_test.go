//go:build lab

package kernel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// patchbay is a network whose hosts come and go. Plugs 0 to 2 always exist: two that send to each
// other, and the witness.
type patchbay struct {
	*network
	*lab.Patchbay
}

const (
	leftPlug, rightPlug, witnessPlug = 0, 1, 2
	stablePlugs                      = 3
)

func newPatchbay(t *testing.T) *patchbay {
	t.Helper()
	n := newQuietNetwork(t, 0)
	b := &patchbay{n, lab.NewPatchbay(t, n.sw, witnessPlug)}
	for i := range stablePlugs {
		b.Plug(t, i)
	}
	return b
}

// ports is the list of ports for the configuration: plugs 0 to count.
func (b *patchbay) ports(count int) string {
	var names []string
	for i := range count {
		names = append(names, lab.PlugName(i))
	}
	return lab.Ports(names...)
}

// send sends one frame.
func (b *patchbay) send(t *testing.T, from, station, to int) uint32 {
	id, err := b.Send(from, station, to, 0)
	if err != nil {
		t.Error(err)
	}
	return id
}

// missing returns how many of the frames have not arrived.
func (b *patchbay) missing(ids []uint32) int {
	n := 0
	for _, id := range ids {
		if !b.Frame(id).Arrived {
			n++
		}
	}
	return n
}

// reach sends frames until one arrives.
func (b *patchbay) reach(t *testing.T, from, to int) {
	t.Helper()
	var ids []uint32
	eventually(t, waitLimit, fmt.Sprintf("a frame from plug %d reaches plug %d", from, to), func() bool {
		ids = append(ids, b.send(t, from, 0, to))
		time.Sleep(5 * time.Millisecond)
		return b.missing(ids) < len(ids)
	})
}

// checkDelivery fails the test for each frame that was misdelivered.
func (b *patchbay) checkDelivery(t *testing.T) {
	t.Helper()
	if err := b.Drained(); err != nil {
		t.Error(err)
	}
	wrong, flooded := b.Misdelivered()
	for i, m := range wrong {
		if i == 10 {
			break
		}
		t.Error(m)
	}
	arrived := 0
	sent := b.Frames(0, func(f *lab.PatchFrame) {
		if f.Arrived {
			arrived++
		}
	})
	t.Logf("%d frames sent, %d arrived, %d flooded, %d misdelivered", sent, arrived, flooded, len(wrong))
}

// checkFlows waits until the in-port and the out-ports of each flow exist.
func (v view) checkFlows(t *testing.T) {
	t.Helper()
	eventually(t, waitLimit, "no flow uses a removed port", func() bool {
		ports := map[string]bool{"drop": true}
		for _, p := range v.vports(t) {
			ports[p.No.String()] = true
		}
		for f := range v.flows(t) {
			if !ports[f.inPort.String()] ||
				slices.ContainsFunc(strings.Split(f.actions, ","), func(to string) bool { return !ports[to] }) {
				return false
			}
		}
		return true
	})
}

// holdings counts the daemon's resources that may leak.
type holdings struct {
	lab.Census
	goroutines int64
}

// holdings waits for a stats event with the given number of ports, and takes a census.
func (b *patchbay) holdings(t *testing.T, d *lab.Daemon, ports int) holdings {
	t.Helper()
	e := d.Wait(t, time.Now(), "stats", func(e lab.Event) bool { return e.Int(t, "ports") == int64(ports) })
	return holdings{settledCensus(t, d), e.Int(t, "goroutines")}
}

// checkLeaks compares the daemon's resources with those that it had with the same ports. The
// runtime maps memory as the heap grows, so mappings count as a leak only if there is one for each
// port. Resources that the daemon holds only briefly are no leak, so it compares repeatedly.
func checkLeaks(t *testing.T, before holdings, ports int, now func() holdings) {
	t.Helper()
	for within := lab.Within(waitLimit); ; {
		after := now()
		t.Logf("before: %v, %d goroutines; after: %v, %d goroutines", before.Census, before.goroutines, after.Census,
			after.goroutines)
		if after.FDs == before.FDs && after.goroutines == before.goroutines &&
			after.Mappings < before.Mappings+max(10, ports/4) {
			return
		}
		if within.Passed() {
			t.Errorf("leaked: %d fds, %d goroutines, %d mappings", after.FDs-before.FDs, after.goroutines-before.goroutines,
				after.Mappings-before.Mappings)
			return
		}
	}
}

// settledCensus repeats the census of the daemon until its descriptors no longer change.
func settledCensus(t *testing.T, d *lab.Daemon) (c lab.Census) {
	t.Helper()
	eventually(t, waitLimit, "the daemon's descriptors stay the same", func() bool {
		before := c.FDs
		var err error
		if c, err = lab.TakeCensus(d.PID()); err != nil {
			t.Fatal(err)
		}
		return c.FDs == before
	})
	return c
}

// talk sends frames between the two stable plugs, each with several stations, and from the other
// plugs to each other and to the stable ones, until end is called. That returns the ids of the
// frames between the stable plugs.
func (b *patchbay) talk(t *testing.T, random *rand.Rand) (end func() []uint32) {
	t.Helper()
	var ids []uint32
	stop := lab.Go(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
			ids = append(ids, b.send(t, leftPlug, random.IntN(64), rightPlug), b.send(t, rightPlug, random.IntN(64), leftPlug))
			if churning := b.Plugs(stablePlugs); len(churning) > 0 {
				i, k := churning[random.IntN(len(churning))], churning[random.IntN(len(churning))]
				b.send(t, i, 0, leftPlug)
				b.send(t, leftPlug, 0, i)
				b.send(t, k, 0, i)
			}
		}
	})
	return func() []uint32 {
		stop()
		return ids
	}
}
