//go:build lab

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patchEtherType marks a patchbay's frames: a local experimental EtherType of IEEE 802.
const patchEtherType = 0x88b6

// Patchbay simulates many hosts around a switch, most of which come and go. Plug i is a veth
// pair between device "plug-i" of the switch's namespace and one of the same name far away,
// whose stations have addresses of their own. Each frame is for the first station of one plug.
// A plug that is never sent to, the witness, shows which frames were flooded: a frame that
// reaches the wrong plug, but not the witness, was misdelivered.
//
// Its methods may be called from several goroutines, except that Plug and Unplug of one plug
// must be called from one goroutine.
type Patchbay struct {
	Switch, Far *NetNS

	witness int
	panel   *Panel

	mu      sync.Mutex
	ifindex map[int]int // of a plug's far device, while plugged in
	plugs   map[int]int // the reverse, including unplugged ones
	frames  []PatchFrame
	strays  map[uint32][]int // wrong plugs that a frame arrived at
	drained time.Time        // when all arrived frames had been read
	failed  error
}

// PatchFrame is the state of one frame.
type PatchFrame struct {
	At       time.Time // when it was sent
	From, To int       // plugs
	Tag      int       // as given to Send
	Arrived  bool      // at its destination
	Flooded  bool      // it reached the witness
}

// Misdelivery is a frame that was not flooded and reached the wrong plugs.
type Misdelivery struct {
	PatchFrame
	Plugs []int
}

func (m Misdelivery) String() string {
	return fmt.Sprintf("frame from plug %d for plug %d, sent %s, was delivered to plugs %v and not flooded",
		m.From, m.To, m.At.UTC().Format(time.RFC3339Nano), m.Plugs)
}

// PlugName is the name of a plug's devices.
func PlugName(i int) string { return fmt.Sprintf("plug-%d", i) }

// PlugMAC is the address of a plug's station. The plug's device has the address of station 0. Both
// numbers are below 65,536.
func PlugMAC(i, station int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x7b, byte(station >> 8), byte(station), byte(i >> 8), byte(i)}
}

// NewPatchbay creates a patchbay without plugs for the switch in namespace sw.
func NewPatchbay(t testing.TB, sw *NetNS, witness int) *Patchbay {
	t.Helper()
	b := &Patchbay{Switch: sw, Far: NewNetNS(t, "far"), witness: witness,
		ifindex: map[int]int{}, plugs: map[int]int{}, strays: map[uint32][]int{}}
	for _, ns := range []*NetNS{b.Switch, b.Far} {
		if err := ns.SetIPv6(false); err != nil {
			t.Fatal(err)
		}
	}
	b.panel = b.Far.OpenPanel(t, patchEtherType)
	Go(t, b.receive)
	return b
}

// Plug creates the devices of a plug.
func (b *Patchbay) Plug(t testing.TB, i int) {
	t.Helper()
	name := PlugName(i)
	Veth(t, End{NS: b.Switch, Name: name}, End{NS: b.Far, Name: name, MAC: PlugMAC(i, 0).String()})
	index := b.Far.Ifindex(t, name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ifindex[i], b.plugs[index] = index, i
}

// Unplug removes the devices of a plug.
func (b *Patchbay) Unplug(t testing.TB, i int) {
	t.Helper()
	b.mu.Lock()
	delete(b.ifindex, i)
	b.mu.Unlock()
	b.Far.DeleteLink(t, PlugName(i))
}

// Plugs lists the connected plugs with numbers from first on, in ascending order.
func (b *Patchbay) Plugs(first int) []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Sorted(maps.Keys(b.ifindex))
	return slices.DeleteFunc(list, func(i int) bool { return i < first })
}

// Send sends one frame from a station of a plug to another plug's first station, and returns its
// number. A plug that is down, or removed meanwhile, is not an error.
func (b *Patchbay) Send(from, station, to, tag int) (uint32, error) {
	b.mu.Lock()
	index, plugged := b.ifindex[from]
	id := uint32(len(b.frames))
	// The witness does not receive its own floods.
	b.frames = append(b.frames, PatchFrame{At: time.Now(), From: from, To: to, Tag: tag, Flooded: from == b.witness})
	b.mu.Unlock()
	if !plugged {
		return id, nil
	}
	f := make([]byte, 64+id*37%400)
	copy(f, PlugMAC(to, 0))
	copy(f[6:], PlugMAC(from, station))
	binary.BigEndian.PutUint16(f[12:], patchEtherType)
	binary.BigEndian.PutUint32(f[14:], id)
	for {
		err := b.panel.Send(index, f)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			continue // only the switch may lose frames
		case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENETDOWN):
			return id, nil
		}
		return id, err
	}
}

// receive records where frames arrive, until ctx is done.
func (b *Patchbay) receive(ctx context.Context) {
	for {
		index, f, err := b.panel.Receive(0)
		switch {
		case err == nil:
			b.note(index, f)
			continue
		case !errors.Is(err, os.ErrDeadlineExceeded):
			b.mu.Lock()
			b.failed = err
			b.mu.Unlock()
			return
		}
		b.mu.Lock()
		b.drained = time.Now()
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// note records that a frame arrived at a device.
func (b *Patchbay) note(index int, f []byte) {
	id := binary.BigEndian.Uint32(f[14:])
	b.mu.Lock()
	defer b.mu.Unlock()
	at, known := b.plugs[index]
	if !known || int(id) >= len(b.frames) {
		return // Plug has not registered the device yet
	}
	switch frame := &b.frames[id]; {
	case slices.Equal(f[:6], PlugMAC(at, 0)):
		frame.Arrived = true
	case at == b.witness:
		frame.Flooded = true
	default:
		b.strays[id] = append(b.strays[id], at)
	}
}

// Frame returns the state of a frame.
func (b *Patchbay) Frame(id uint32) PatchFrame {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.frames[id]
}

// Frames calls fn with all frames from number first on, and returns the total number of frames.
func (b *Patchbay) Frames(first int, fn func(f *PatchFrame)) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := first; i < len(b.frames); i++ {
		fn(&b.frames[i])
	}
	return len(b.frames)
}

// Drained waits until all frames that have arrived so far are recorded. The error is that of
// receiving, or reports that the panel's socket dropped frames.
func (b *Patchbay) Drained() error {
	called := time.Now()
	for {
		b.mu.Lock()
		drained, err := b.drained, b.failed
		b.mu.Unlock()
		if err != nil {
			return err
		}
		if drained.After(called) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	n, err := b.panel.Dropped()
	if err == nil && n > 0 {
		err = fmt.Errorf("the patchbay's own socket dropped %d frames", n)
	}
	return err
}

// Misdelivered returns the misdelivered frames and forgets all stray ones, so call it when no frame
// is in flight. flooded is the number of other stray frames.
func (b *Patchbay) Misdelivered() (wrong []Misdelivery, flooded int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, at := range b.strays {
		if b.frames[id].Flooded {
			flooded++
			continue
		}
		wrong = append(wrong, Misdelivery{b.frames[id], at})
	}
	clear(b.strays)
	return wrong, flooded
}
