package ringtest

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// Options, statuses and the frame header of netlink rings.
const (
	solNetlink = 270
	rxRing     = 6
	txRing     = 7

	statusUnused   = 0
	statusReserved = 1
	statusValid    = 2
	statusCopy     = 3
	statusSkip     = 4

	hdrLen   = 24
	pageSize = 4096
)

// request is struct nl_mmap_req.
type request struct {
	blockSize, blockNr, frameSize, frameNr uint32
}

func parseRequest(b []byte) request {
	return request{
		blockSize: binary.NativeEndian.Uint32(b[0:4]),
		blockNr:   binary.NativeEndian.Uint32(b[4:8]),
		frameSize: binary.NativeEndian.Uint32(b[8:12]),
		frameNr:   binary.NativeEndian.Uint32(b[12:16]),
	}
}

// Header is struct nl_mmap_hdr, as tests may set it.
type Header struct {
	Status, Len, Group, PID, UID, GID uint32
}

// pages is the kernel's view of one ring: like the kernel, it has an array of blocks and does not
// know where they are mapped.
type pages struct {
	req      request
	fpb      uint32
	head     uint32
	frameMax uint32
	blocks   [][]byte
	pending  int // frames in state RESERVED
}

func newPages(req request) *pages {
	return &pages{req: req, fpb: req.blockSize / req.frameSize, frameMax: req.frameNr - 1}
}

func (p *pages) bytes() int { return int(p.req.blockSize) * int(p.req.blockNr) }

// place divides mem, the memory of this ring, into blocks.
func (p *pages) place(mem []byte) {
	p.blocks = p.blocks[:0]
	for i := 0; i < int(p.req.blockNr); i++ {
		start := i * int(p.req.blockSize)
		p.blocks = append(p.blocks, mem[start:start+int(p.req.blockSize)])
	}
}

// frame returns the memory of the frame at pos.
func (p *pages) frame(pos uint32) []byte {
	block := p.blocks[pos/p.fpb]
	off := pos % p.fpb * p.req.frameSize
	return block[off : off+p.req.frameSize]
}

func (p *pages) status(pos uint32) uint32 { return atomic.LoadUint32(statusWord(p.frame(pos))) }

func (p *pages) setStatus(pos, status uint32) {
	atomic.StoreUint32(statusWord(p.frame(pos)), status)
}

// setLen stores without synchronisation, as the kernel does: the status publishes it.
func (p *pages) setLen(pos, n uint32) { binary.NativeEndian.PutUint32(p.frame(pos)[4:8], n) }

func (p *pages) len(pos uint32) uint32 { return binary.NativeEndian.Uint32(p.frame(pos)[4:8]) }

func (p *pages) advance() {
	if p.head == p.frameMax {
		p.head = 0
	} else {
		p.head++
	}
}

func (p *pages) previous() uint32 {
	if p.head == 0 {
		return p.frameMax
	}
	return p.head - 1
}

// header and setHeader are for tests that read or corrupt a frame. The status is read first and
// written last. The reader marks frames in the last word, at any time.
func (p *pages) header(pos uint32) Header {
	status := p.status(pos)
	f := p.frame(pos)
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(f[4*i : 4*i+4]) }
	return Header{Status: status, Len: word(1), Group: word(2), PID: word(3), UID: word(4),
		GID: atomic.LoadUint32(statusWord(f[20:]))}
}

func (p *pages) setHeader(pos uint32, h Header) {
	f := p.frame(pos)
	for i, v := range []uint32{h.Len, h.Group, h.PID, h.UID} {
		binary.NativeEndian.PutUint32(f[4*i+4:4*i+8], v)
	}
	atomic.StoreUint32(statusWord(f[20:]), h.GID)
	p.setStatus(pos, h.Status)
}

// statusWord is the first word of a frame. Frames are at least 24 bytes and
// 4-byte aligned in page-aligned memory.
func statusWord(frame []byte) *uint32 { return (*uint32)(unsafe.Pointer(&frame[0])) }
