package mmapring

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// Rule: frame i is at block[i / fpb] + (i % fpb) * frame_size.
func TestOffset(t *testing.T) {
	for _, tc := range []struct {
		name string
		g    Geometry
		i    uint32
		want uint64
	}{
		{"first", gapped, 0, 0},
		{"last of the block", gapped, 2, 40000},
		{"behind the gap", gapped, 3, 65536},
		{"last of the ring", gapped, 5, 65536 + 40000},
		{"default", DefaultGeometry(), 25, 65536},
		{"default, before the gap", DefaultGeometry(), 24, 61440},
		{"no gap", small, 15, 3*8192 + 3*2048},
	} {
		if got := tc.g.Offset(tc.i); got != tc.want {
			t.Errorf("%s: Offset(%d) of %v = %d, want %d", tc.name, tc.i, tc.g, got, tc.want)
		}
	}
}

func TestDefaultGeometry(t *testing.T) {
	g := DefaultGeometry()
	if err := g.Validate(4096); err != nil {
		t.Fatal(err)
	}
	if g.Frames() != 6400 || g.Bytes() != 16<<20 || g.Room() != 2536 {
		t.Errorf("%v: room %d, %d bytes", g, g.Room(), g.Bytes())
	}
}

// Rules: the kernel's checks of a geometry, in the kernel's order: if two rules are broken, the
// error names the first.
func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name  string
		g     Geometry
		field string // "" is valid
	}{
		{"no ring", Geometry{}, ""},
		{"patch of 2013", Geometry{16384, 65536, 64}, ""},
		{"smallest", Geometry{24, 4096, 1}, ""},
		{"frame is a block", Geometry{4096, 4096, 7}, ""},
		{"no blocks", Geometry{2048, 4096, 0}, "blocks"},
		{"no block size", Geometry{2048, 0, 4}, "block_size"},
		{"negative block size", Geometry{2048, 1 << 31, 4}, "block_size"},
		{"block not of pages", Geometry{2048, 6144, 4}, "block_size"},
		{"block before frame", Geometry{20, 6144, 4}, "block_size"},
		{"frame below the header", Geometry{20, 4096, 4}, "frame_size"},
		{"no frame size", Geometry{0, 4096, 4}, "frame_size"},
		{"frame not aligned", Geometry{2050, 4096, 4}, "frame_size"},
		{"frame exceeds block", Geometry{8192, 4096, 4}, "frame_size"},
		{"too many frames", Geometry{24, 1 << 30, 1 << 10}, "blocks"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.g.Validate(4096)
			var ge *GeometryError
			switch {
			case tc.field == "" && err != nil:
				t.Errorf("%v: %v", tc.g, err)
			case tc.field != "" && (!errors.As(err, &ge) || ge.Field != tc.field || !errors.Is(err, unix.EINVAL)):
				t.Errorf("%v: %v, want an EINVAL about %s", tc.g, err, tc.field)
			}
		})
	}
}

// Rule: struct nl_mmap_req is block_size, block_nr, frame_size, frame_nr, and
// frame_nr is frames per block times blocks.
func TestRequestLayout(t *testing.T) {
	b := gapped.request()
	for i, want := range []uint32{65536, 2, 20000, 6} {
		if got := binary.NativeEndian.Uint32(b[4*i:]); got != want {
			t.Errorf("word %d is %d, want %d", i, got, want)
		}
	}
	if b := (Geometry{}).request(); b != [requestSize]byte{} {
		t.Errorf("the request without a ring is %v, want zeros: they free the ring", b)
	}
}

// Validate and the emulated setsockopt, which share no code, agree.
func TestValidateAgreesWithKernel(t *testing.T) {
	k, fd, _ := newSocket(t, ringtest.Config{})
	rng := rand.New(rand.NewPCG(3, 5))
	values := []uint32{0, 4, 20, 22, 24, 28, 2048, 2560, 4096, 6144, 8192, 12288, 1 << 31, 1<<32 - 4096}
	pick := func() uint32 { return values[rng.IntN(len(values))] }
	none := Geometry{}.request()
	accepted := 0
	for range 4000 {
		g := Geometry{FrameSize: pick(), BlockSize: pick(), Blocks: rng.Uint32N(4)}
		if g.Blocks == 0 {
			continue // not a ring: the kernel frees one, Validate rejects it
		}
		req := g.request()
		err := k.Setsockopt(fd, unix.SOL_NETLINK, optRXRing, req[:])
		if valid := g.Validate(4096); (valid == nil) != (err == nil) {
			t.Fatalf("%+v: Validate says %v, the kernel %v", g, valid, err)
		}
		if err == nil {
			accepted++
			if err := k.Setsockopt(fd, unix.SOL_NETLINK, optRXRing, none[:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if accepted < 100 {
		t.Errorf("only %d geometries were valid", accepted)
	}
}
