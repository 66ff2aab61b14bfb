package mmapring

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

const (
	// headerSize is NL_MMAP_HDRLEN of linux/netlink.h (4.4): struct nl_mmap_hdr
	// {u32 status, len, group, pid, uid, gid}, aligned to NL_MMAP_MSG_ALIGNMENT.
	headerSize = 24
	// frameAlign is NL_MMAP_MSG_ALIGNMENT of linux/netlink.h (4.4).
	frameAlign = 4
	// requestSize is the size of struct nl_mmap_req of linux/netlink.h (4.4).
	requestSize = 16
)

// Geometry is the shape of one ring. The zero Geometry means no ring.
type Geometry struct {
	FrameSize uint32 // bytes, header included
	BlockSize uint32 // bytes; the kernel allocates each block as one piece
	Blocks    uint32
}

// DefaultGeometry is 6,400 frames in 16 MiB, about as many small upcalls as an ordinary socket
// with 8 MiB of receive buffer holds. A frame holds a full Ethernet frame and the kernel's size
// estimate of an upcall around it (about 540 bytes); larger messages arrive by COPY.
func DefaultGeometry() Geometry {
	return Geometry{FrameSize: 2560, BlockSize: 64 << 10, Blocks: 256}
}

// IsZero reports whether g means no ring.
func (g Geometry) IsZero() bool { return g == Geometry{} }

// FramesPerBlock is the number of whole frames in a block; the rest of the block is a gap.
func (g Geometry) FramesPerBlock() uint32 {
	if g.FrameSize == 0 {
		return 0
	}
	return g.BlockSize / g.FrameSize
}

// Frames is the number of frames in the ring.
func (g Geometry) Frames() uint32 { return g.FramesPerBlock() * g.Blocks }

// Bytes is the memory that the ring takes, gaps included.
func (g Geometry) Bytes() uint64 { return uint64(g.BlockSize) * uint64(g.Blocks) }

// Room is the number of payload bytes that a frame holds.
func (g Geometry) Room() uint32 {
	if g.FrameSize < headerSize {
		return 0
	}
	return g.FrameSize - headerSize
}

// Offset is the position in bytes of frame i, counted from the start of the ring. It counts
// whole blocks, because frames need not fill a block. i must be below Frames.
func (g Geometry) Offset(i uint32) uint64 {
	fpb := g.BlockSize / g.FrameSize
	return uint64(i/fpb)*uint64(g.BlockSize) + uint64(i%fpb)*uint64(g.FrameSize)
}

// Validate makes the kernel's checks (netlink_set_ring, Linux 4.4) in the kernel's order and
// returns a [*GeometryError] for the first that fails. pageSize is the system's, in bytes. The zero
// Geometry is valid.
func (g Geometry) Validate(pageSize int) error {
	switch {
	case g.IsZero():
		return nil
	case g.Blocks == 0:
		return &GeometryError{"blocks", g.Blocks, "must not be 0"}
	case g.BlockSize == 0 || g.BlockSize > math.MaxInt32:
		return &GeometryError{"block_size", g.BlockSize, "must be at least 1 page and less than 2 GiB"}
	case g.BlockSize%uint32(pageSize) != 0:
		return &GeometryError{"block_size", g.BlockSize, fmt.Sprintf("must be a multiple of the page size, %d", pageSize)}
	case g.FrameSize < headerSize:
		return &GeometryError{"frame_size", g.FrameSize, fmt.Sprintf("must be at least the frame header's %d bytes",
			headerSize)}
	case g.FrameSize%frameAlign != 0:
		return &GeometryError{"frame_size", g.FrameSize, fmt.Sprintf("must be a multiple of %d", frameAlign)}
	case g.FrameSize > g.BlockSize:
		return &GeometryError{"frame_size", g.FrameSize, fmt.Sprintf("must not exceed the block size, %d", g.BlockSize)}
	case uint64(g.FramesPerBlock())*uint64(g.Blocks) > math.MaxUint32:
		return &GeometryError{"blocks", g.Blocks, "makes more frames than the kernel can count"}
	}
	return nil
}

// request is struct nl_mmap_req: block_size, block_nr, frame_size, frame_nr.
// The request of the zero Geometry frees the ring.
func (g Geometry) request() [requestSize]byte {
	var b [requestSize]byte
	binary.NativeEndian.PutUint32(b[0:], g.BlockSize)
	binary.NativeEndian.PutUint32(b[4:], g.Blocks)
	binary.NativeEndian.PutUint32(b[8:], g.FrameSize)
	binary.NativeEndian.PutUint32(b[12:], g.Frames())
	return b
}

// String describes the ring: "6400 frames of 2560 bytes in 256 blocks of 65536 bytes".
func (g Geometry) String() string {
	if g.IsZero() {
		return "no ring"
	}
	return fmt.Sprintf("%d frames of %d bytes in %d blocks of %d bytes", g.Frames(), g.FrameSize, g.Blocks, g.BlockSize)
}

// GeometryError names the field of a Geometry and the rule that it breaks. It matches
// unix.EINVAL, the error that the kernel would return.
type GeometryError struct {
	Field string // frame_size, block_size or blocks
	Value uint32
	Rule  string
}

func (e *GeometryError) Error() string {
	return fmt.Sprintf("ring geometry: %s %d: %s", e.Field, e.Value, e.Rule)
}

// Unwrap returns unix.EINVAL.
func (e *GeometryError) Unwrap() error { return unix.EINVAL }
