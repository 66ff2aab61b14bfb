//go:build lab

package kernel_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dpifd/internal/lab"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// patchEtherType marks the frames between plugs.
const patchEtherType = 0x88b6

// patchbay is a switch with many ports that come and go. Plug i is a veth pair
// between device "plug-i" of the switch's namespace and the far one, whose
// station has the MAC address of the plug's number. Plugs 0 to 2 are there
// all the time: two that talk to each other, and a witness that is never sent
// to, so that what it gets was flooded.
type patchbay struct {
	*network
	far   *lab.NetNS
	panel *lab.Panel

	mu        sync.Mutex
	ifindex   map[int]int // of a plug's far device, while it is there
	plugs     map[int]int // the reverse, for those that were, too
	sent      map[uint32]int
	arrived   map[uint32]bool  // at whom it was sent to
	witnessed map[uint32]bool  // at the witness, so flooded
	strays    map[uint32][]int // at others: plugs
	serial    uint32
}

const (
	leftPlug, rightPlug, witnessPlug = 0, 1, 2
	stablePlugs                      = 3
)

func plugName(i int) string { return fmt.Sprintf("plug-%d", i) }

// plugMAC returns a station of a plug; the plug's own is number 0.
func plugMAC(i, station int) odp.MAC {
	return odp.MAC{0x02, 0x7b, byte(station), 0, byte(i >> 8), byte(i)}
}

func newPatchbay(t *testing.T) *patchbay {
	t.Helper()
	b := &patchbay{network: newQuietNetwork(t, 0), far: lab.NewNetNS(t, "far"),
		ifindex: map[int]int{}, plugs: map[int]int{}, sent: map[uint32]int{},
		arrived: map[uint32]bool{}, witnessed: map[uint32]bool{}, strays: map[uint32][]int{}}
	noIPv6(t, b.far)
	b.panel = b.far.OpenPanel(t, patchEtherType)
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.receive(t, ended)
	}()
	t.Cleanup(func() { close(ended); <-stopped })
	for i := range stablePlugs {
		b.plug(t, i)
	}
	return b
}

// ports is the configuration's list of the plugs from 0 to count.
func (b *patchbay) ports(count int) string {
	var names []string
	for i := range count {
		names = append(names, "{name: "+plugName(i)+"}")
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// plug makes the devices of a plug.
func (b *patchbay) plug(t *testing.T, i int) {
	t.Helper()
	name := plugName(i)
	lab.Veth(t, lab.End{NS: b.sw, Name: name}, lab.End{NS: b.far, Name: name, MAC: plugMAC(i, 0).String()})
	b.meet(t, i)
}

// meet notes the index of a plug's far device.
func (b *patchbay) meet(t *testing.T, i int) {
	t.Helper()
	index := b.far.Ifindex(t, plugName(i))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ifindex[i], b.plugs[index] = index, i
}

// unplug removes the devices of a plug.
func (b *patchbay) unplug(t *testing.T, i int) {
	t.Helper()
	b.mu.Lock()
	delete(b.ifindex, i)
	b.mu.Unlock()
	b.far.DeleteLink(t, plugName(i))
}

// there lists the plugs from first on that are plugged in, in order.
func (b *patchbay) there(first int) []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Sorted(maps.Keys(b.ifindex))
	return slices.DeleteFunc(list, func(i int) bool { return i < first })
}

// send sends one frame from a station of a plug to another plug's first
// station, and returns its number. A plug that goes meanwhile is no error.
func (b *patchbay) send(t *testing.T, from, station, to int) uint32 {
	b.mu.Lock()
	index, ok := b.ifindex[from]
	b.serial++
	id := b.serial
	b.sent[id] = to
	if from == witnessPlug {
		b.witnessed[id] = true // it does not get its own floods
	}
	b.mu.Unlock()
	if !ok {
		return id
	}
	dst, src := plugMAC(to, 0), plugMAC(from, station)
	f := make([]byte, 64+int(id)*37%400)
	copy(f, dst[:])
	copy(f[6:], src[:])
	binary.BigEndian.PutUint16(f[12:], patchEtherType)
	binary.BigEndian.PutUint32(f[14:], id)
	for {
		err := b.panel.Send(index, f)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			continue
		case err != nil && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENETDOWN):
			t.Error(err)
		}
		return id
	}
}

// receive notes where frames arrive, until ended is closed.
func (b *patchbay) receive(t *testing.T, ended <-chan struct{}) {
	for {
		index, f, err := b.panel.Receive(100 * time.Millisecond)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
				return
			}
			select {
			case <-ended:
				return
			default:
				continue
			}
		}
		id := binary.BigEndian.Uint32(f[14:])
		b.mu.Lock()
		if at, known := b.plugs[index]; known {
			b.note(id, at, odp.MAC(f[:6]))
		}
		b.mu.Unlock()
	}
}

// note notes that a frame arrived at a plug. b.mu is held.
func (b *patchbay) note(id uint32, at int, dst odp.MAC) {
	switch {
	case dst == plugMAC(at, 0):
		b.arrived[id] = true
	case at == witnessPlug:
		b.witnessed[id] = true
	default:
		b.strays[id] = append(b.strays[id], at)
	}
}

// has reports whether a frame has arrived where it was sent to.
func (b *patchbay) has(id uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrived[id]
}

// reach sends until a frame arrives, and returns how many it took.
func (b *patchbay) reach(t *testing.T, from, to int) int {
	t.Helper()
	sent := 0
	var ids []uint32
	eventually(t, waitLimit, fmt.Sprintf("a frame from plug %d reaches plug %d", from, to), func() bool {
		ids = append(ids, b.send(t, from, 0, to))
		sent++
		time.Sleep(5 * time.Millisecond)
		return slices.ContainsFunc(ids, b.has)
	})
	return sent
}

// checkDelivery fails the test for each frame that a plug got which it was not
// for, unless it was flooded: then the witness has it too.
func (b *patchbay) checkDelivery(t *testing.T) {
	t.Helper()
	if n, err := b.panel.Dropped(); err != nil || n != 0 {
		t.Errorf("the test's own socket dropped %d frames, error %v", n, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	flooded, wrong := 0, 0
	for id, at := range b.strays {
		if b.witnessed[id] {
			flooded++
			continue
		}
		if wrong++; wrong <= 10 {
			t.Errorf("frame %d for plug %d was delivered to plugs %v, and was not flooded", id, b.sent[id], at)
		}
	}
	t.Logf("%d frames sent, %d arrived, %d flooded, %d misdelivered", len(b.sent), len(b.arrived), flooded, wrong)
}

// checkFlows waits until each flow is from a port that exists, to ports that
// exist.
func (v view) checkFlows(t *testing.T) {
	t.Helper()
	eventually(t, waitLimit, "no flow is of a port that is not there", func() bool {
		ports := map[string]bool{"drop": true}
		for _, p := range v.vports(t) {
			ports[p.No.String()] = true
		}
		for f := range v.flows(t) {
			if !ports[f.inPort.String()] || slices.ContainsFunc(strings.Split(f.actions, ","), func(to string) bool { return !ports[to] }) {
				return false
			}
		}
		return true
	})
}

// holdings is what the daemon holds that may leak.
type holdings struct {
	lab.Census
	goroutines int64
}

// holdings waits for a stats line that counts so many ports, and takes a
// census.
func (b *patchbay) holdings(t *testing.T, d *lab.Daemon, ports int) holdings {
	t.Helper()
	e := d.Wait(t, time.Now(), "stats", func(e lab.Event) bool { return e.Int(t, "ports") == int64(ports) })
	c, err := lab.TakeCensus(d.PID())
	if err != nil {
		t.Fatal(err)
	}
	return holdings{c, e.Int(t, "goroutines")}
}

// checkLeaks compares what the daemon holds with what it held with the same
// ports. The runtime maps heap when it grows, so only as many mappings as
// ports would leave show a leak.
func checkLeaks(t *testing.T, before, after holdings, ports int) {
	t.Helper()
	t.Logf("before: %v, %d goroutines; after: %v, %d goroutines", before.Census, before.goroutines, after.Census, after.goroutines)
	if after.FDs != before.FDs || after.goroutines != before.goroutines || after.Mappings >= before.Mappings+max(10, ports/4) {
		t.Errorf("leaked: %d fds, %d goroutines, %d mappings", after.FDs-before.FDs, after.goroutines-before.goroutines, after.Mappings-before.Mappings)
	}
}

// talk has the two stable plugs talk, each as many stations, and the churning
// ones send to each other and to them, until ended is closed. It returns the
// frames between the stable ones.
func (b *patchbay) talk(t *testing.T, random *rand.Rand, ended <-chan struct{}) []uint32 {
	var ids []uint32
	for {
		select {
		case <-ended:
			return ids
		case <-time.After(5 * time.Millisecond):
		}
		ids = append(ids, b.send(t, leftPlug, random.IntN(64), rightPlug), b.send(t, rightPlug, random.IntN(64), leftPlug))
		if churning := b.there(stablePlugs); len(churning) > 0 {
			i, k := churning[random.IntN(len(churning))], churning[random.IntN(len(churning))]
			b.send(t, i, 0, leftPlug)
			b.send(t, leftPlug, 0, i)
			b.send(t, k, 0, i)
		}
	}
}
