package mmapring

import (
	"strconv"
	"sync/atomic"
	"unsafe"
)

// Status is the first word of a frame: enum nl_mmap_status of linux/netlink.h (4.4).
type Status uint32

// Statuses of a frame; the package comment says who owns the frame in each.
const (
	Unused Status = iota
	Reserved
	Valid
	Copy
	Skip
)

func (s Status) String() string {
	switch s {
	case Unused:
		return "UNUSED"
	case Reserved:
		return "RESERVED"
	case Valid:
		return "VALID"
	case Copy:
		return "COPY"
	case Skip:
		return "SKIP"
	}
	return "status(" + strconv.FormatUint(uint64(s), 10) + ")"
}

// Byte positions in struct nl_mmap_hdr of linux/netlink.h (4.4).
const (
	offStatus = 0
	offLen    = 4
	offGroup  = 8
	offPID    = 12
	offUID    = 16
	offGID    = 20
)

// ring is the memory of one ring. It is the only type that touches shared
// memory; its methods take frame numbers below frames.
type ring struct {
	geo    Geometry
	frames uint32
	room   uint32
	mem    []byte // exactly geo.Bytes() bytes
}

func newRing(g Geometry, mem []byte) ring {
	return ring{geo: g, frames: g.Frames(), room: g.Room(), mem: mem}
}

// word is the 32-bit header word at byte position field of frame i.
//
// The cast is sound: the index expression is bounds-checked and field+4 bytes
// never leave the frame, whose header lies inside mem; the word is aligned,
// because mem starts on a page, block sizes are multiples of the page, and frame
// sizes and field positions are multiples of 4. The pointer does not outlive the
// call it is used in, and mem stays mapped for that long under Mapping.mu.
func (r *ring) word(i uint32, field uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[r.geo.Offset(i)+field]))
}

// status loads the status of frame i with acquire order: writes of the kernel before it are
// visible after it. The kernel's side is smp_mb (4.1 and later) before its store
// (netlink_set_status).
func (r *ring) status(i uint32) Status { return Status(atomic.LoadUint32(r.word(i, offStatus))) }

// setStatus stores the status of frame i with release order: all earlier accesses to the frame
// are complete when the kernel sees it. The kernel's side is smp_rmb around its load
// (netlink_get_status).
func (r *ring) setStatus(i uint32, s Status) { atomic.StoreUint32(r.word(i, offStatus), uint32(s)) }

// length is loaded once per message: the value that is checked must be the value that is used,
// even if the memory changes.
func (r *ring) length(i uint32) uint32 { return atomic.LoadUint32(r.word(i, offLen)) }

func (r *ring) pid(i uint32) uint32 { return atomic.LoadUint32(r.word(i, offPID)) }

// answeredMark in the word for the sender's group id means that the reader has acted on the
// frame's message, or was about to. The kernel writes the word with each message, 0 in its own
// (netlink_queue_mmaped_skb, netlink_ring_set_copied, Linux 4.4), and never reads it.
const answeredMark = 0x64706966

func (r *ring) mark(i uint32) { atomic.StoreUint32(r.word(i, offGID), answeredMark) }

// unmark clears the mark of a released frame, because a message that the kernel aborts does not
// change the word.
func (r *ring) unmark(i uint32) { atomic.StoreUint32(r.word(i, offGID), 0) }

func (r *ring) marked(i uint32) bool { return atomic.LoadUint32(r.word(i, offGID)) == answeredMark }

// previous is the frame before i.
func (r *ring) previous(i uint32) uint32 {
	if i == 0 {
		i = r.frames
	}
	return i - 1
}

// payload is the first n bytes of the payload of frame i. n must not exceed room.
func (r *ring) payload(i, n uint32) []byte {
	off := r.geo.Offset(i) + headerSize
	return r.mem[off : off+uint64(n) : off+uint64(n)]
}

// setHeader fills in the header of frame i, except for the status.
func (r *ring) setHeader(i, n uint32) {
	atomic.StoreUint32(r.word(i, offLen), n)
	for _, field := range [...]uint64{offGroup, offPID, offUID, offGID} {
		atomic.StoreUint32(r.word(i, field), 0)
	}
}

// next is the frame after i.
func (r *ring) next(i uint32) uint32 {
	if i++; i == r.frames {
		return 0
	}
	return i
}
