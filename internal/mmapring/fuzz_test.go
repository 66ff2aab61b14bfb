package mmapring

import (
	"encoding/binary"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

var fuzzGeometries = []Geometry{
	{24, 4096, 1}, {2048, 4096, 2}, {1000, 4096, 2}, {4096, 4096, 3}, {8192, 8192, 1}, {1364, 4096, 2},
}

// guarded returns n bytes with an unreadable page on each side.
func guarded(f *testing.F, n int) []byte {
	mem, err := unix.Mmap(-1, 0, n+2*page, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			f.Error(err)
		}
	})
	inner := mem[page : page+n]
	if err := unix.Mprotect(inner, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		f.Fatal(err)
	}
	return inner
}

// noCalls is for mappings created by tests.
type noCalls struct{ Syscalls }

// FuzzMemory reads a ring whose memory has arbitrary content and changes between the reads: no
// panic, no access outside the mapping (it would fault), and either progress or a valid outcome.
func FuzzMemory(f *testing.F) {
	frame := func(status, n, pid uint32) []byte {
		b := make([]byte, headerSize)
		binary.NativeEndian.PutUint32(b[0:], status)
		binary.NativeEndian.PutUint32(b[4:], n)
		binary.NativeEndian.PutUint32(b[12:], pid)
		return b
	}
	f.Add(uint8(0), frame(2, 0, 0), []byte{})
	f.Add(uint8(1), frame(2, 2025, 0), []byte{0, 0, 2, 4, 0, 9})
	f.Add(uint8(2), frame(2, 976, 0), []byte{0, 0, 3})
	f.Add(uint8(3), frame(3, 1<<31, 0), []byte{16, 0, 2})
	f.Add(uint8(4), frame(4, 1<<32-1, 0), []byte{7, 0, 255})
	f.Add(uint8(5), frame(2, 1340, 77), []byte{12, 0, 0})

	var mu sync.Mutex // parallel runs of one process share the memory
	areas := make([][]byte, len(fuzzGeometries))
	for i, g := range fuzzGeometries {
		areas[i] = guarded(f, int(g.Bytes()))
	}
	f.Fuzz(func(t *testing.T, which uint8, contents, changes []byte) {
		mu.Lock()
		defer mu.Unlock()
		i := int(which) % len(fuzzGeometries)
		g, mem := fuzzGeometries[i], areas[i]
		clear(mem)
		for n := 0; len(contents) > 0 && n < len(mem); {
			n += copy(mem[n:], contents)
		}
		m := &Mapping{sys: noCalls{}, mem: mem}
		m.reader = newReader(m, newRing(g, mem))
		r := m.reader
		frames, sum := int(g.Frames()), 0
		for step := 0; step < 4*frames+len(changes); step++ {
			before := r.Counters()
			p, outcome := r.Read()
			switch outcome {
			case Message:
				if len(p) == 0 || len(p) > int(g.Room()) {
					t.Fatalf("%d bytes of room %d", len(p), g.Room())
				}
				for _, b := range p {
					sum += int(b)
				}
			case Queued:
				if step%3 == 0 { // otherwise the recv failed
					r.Copied()
				}
			case Limit:
				if r.Lent() == 0 {
					t.Fatal("limit with nothing lent")
				}
				r.Release(1 + step%3)
			case Empty, Waiting:
				if r.Ready() && r.Counters() == before {
					t.Fatal("no progress, and ready")
				}
			}
			if r.held > r.half || r.lent > r.held {
				t.Fatalf("%d held, %d lent of %d", r.held, r.lent, frames)
			}
			if len(changes) >= 3 {
				pos := int(binary.LittleEndian.Uint16(changes)) % len(mem)
				mem[pos] = changes[2]
				changes = changes[3:]
			}
		}
		r.Release(frames)
		if r.Lent() != 0 {
			t.Errorf("%d lent at the end", r.Lent())
		}
	})
}
