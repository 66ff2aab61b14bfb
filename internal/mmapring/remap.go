package mmapring

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A ring outlives its mapping: after munmap, and after the process ends while another one has
// the socket, the kernel continues to fill frames, and a second mmap of the same size finds
// them (seen on Linux 4.1.6 and 4.4.0). The kernel reports neither the geometry of a ring nor
// the position of its reader, so both are passed with the descriptor, as a State.

// State is what the next owner of a ring socket needs to map its RX ring again.
type State struct {
	Geometry Geometry // zero: no ring
	// Head is the next frame to read, -1 if unknown because the process ended before its reader
	// was asked.
	Head int64
}

// String is the text of s for ParseState, without blanks and colons; empty without ring.
func (s State) String() string {
	if s.Geometry.IsZero() {
		return ""
	}
	g := s.Geometry
	text := fmt.Sprintf("%d/%d/%d/", g.FrameSize, g.BlockSize, g.Blocks)
	if s.Head < 0 {
		return text + "-"
	}
	return text + strconv.FormatInt(s.Head, 10)
}

// ParseState reads what String wrote. Errors match unix.EINVAL.
func ParseState(text string) (State, error) {
	s := State{Head: -1}
	if text == "" {
		return s, nil
	}
	fields := strings.Split(text, "/")
	bad := func(why string) (State, error) {
		return State{}, fmt.Errorf("ring state %q: %s: %w", text, why, unix.EINVAL)
	}
	if len(fields) != 4 {
		return bad("want frame size, block size, blocks and head")
	}
	for i, p := range []*uint32{&s.Geometry.FrameSize, &s.Geometry.BlockSize, &s.Geometry.Blocks} {
		n, err := strconv.ParseUint(fields[i], 10, 32)
		if err != nil {
			return bad(err.Error())
		}
		*p = uint32(n)
	}
	if err := s.Geometry.Validate(os.Getpagesize()); err != nil {
		return bad(err.Error())
	}
	if s.Geometry.IsZero() {
		return bad("no frames")
	}
	if fields[3] != "-" {
		n, err := strconv.ParseUint(fields[3], 10, 32)
		if err != nil || n >= uint64(s.Geometry.Frames()) {
			return bad("head")
		}
		s.Head = int64(n)
	}
	return s, nil
}

// Found is what Remap found in the frames of a ring.
type Found struct {
	InUse    int // frames that hold messages, or are being written
	Answered int // of these, frames that the previous reader had marked, see Reader.Mark
	// Guessed: all frames are in use, the head is not known, and no mark shows it. The
	// messages are read once each, but the newest of them may come before older ones.
	Guessed bool
}

// Remap maps the RX ring that the socket fd has, set up by a process before this one or by a
// Mapping that was closed. The new Reader reads unread messages; it releases frames that the
// previous reader had marked. A geometry of another total size is refused with an error that
// matches unix.EINVAL; another geometry of the same size is not detected. A nil sys means the
// running kernel. The caller keeps fd.
func Remap(fd int, s State, sys Syscalls) (*Mapping, Found, error) {
	if sys == nil {
		sys = Kernel{}
	}
	if err := s.Geometry.Validate(os.Getpagesize()); err != nil {
		return nil, Found{}, err
	}
	size := s.Geometry.Bytes()
	if size == 0 || size > math.MaxInt || s.Head >= int64(s.Geometry.Frames()) {
		return nil, Found{}, &GeometryError{"blocks", s.Geometry.Blocks, "no ring of this state"}
	}
	mem, err := sys.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, Found{}, &OpError{Op: "mmap", Err: err}
	}
	m := &Mapping{fd: fd, sys: sys, mem: mem}
	m.reader = newReader(m, newRing(s.Geometry, mem))
	return m, m.reader.resume(s.Head), nil
}

// resume sets the head of a reader that has not read yet.
func (r *Reader) resume(head int64) (f Found) {
	for i := range r.ring.frames {
		if r.ring.status(i) != Unused {
			f.InUse++
			if r.ring.marked(i) {
				f.Answered++
			}
		}
	}
	if head >= 0 {
		r.head, r.tail, r.told = uint32(head), uint32(head), true
	}
	r.searching = true
	if f.InUse == 0 {
		return f
	}
	// If all frames are in use, the search starts at the known head.
	f.Guessed = r.search() == guessed && head < 0
	return f
}

// outcome of a search.
type found int

const (
	nothing found = iota // all frames are unused
	exact
	guessed // all frames are in use, and the oldest is unknown
)

// search finds the oldest frame in use. Frames in use are contiguous, because the kernel takes
// them and the reader returns them in order, so the oldest is the one after an unused frame.
// The kernel may take frames during the search: a frame that was unused may be in use now.
// Therefore the search goes back from the found frame while the previous one is in use. No
// frame is held.
func (r *Reader) search() found {
	n, first := r.ring.frames, r.head
	for i := uint32(0); r.ring.status(first) == Unused; i++ {
		if i == n {
			return nothing
		}
		first = r.ring.next(first)
	}
	for range n {
		before := r.ring.previous(first)
		if r.ring.status(before) == Unused {
			r.place(first)
			return exact
		}
		first = before
	}
	// All are in use. The oldest ones may be marked. Otherwise start at the current head, and
	// search again when all were read.
	for range n {
		before := r.ring.previous(first)
		if r.ring.marked(first) && !r.ring.marked(before) {
			r.place(first)
			return exact
		}
		first = before
	}
	r.place(r.head)
	r.searching, r.lap = true, n
	return guessed
}

// place sets the head to a frame that is known to be the oldest in use.
func (r *Reader) place(head uint32) {
	r.head, r.tail, r.searching, r.lapped, r.lap = head, head, false, false, 0
}

// State returns what the next owner of the socket needs. Call it before Close. The head is the
// oldest lent message, if any. It is -1 if unknown, and while a full ring is read from a frame
// that may not be its oldest: the next reader would take newer messages for older ones, so such
// a ring is read completely before it is handed over.
func (r *Reader) State() State {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	s := State{Geometry: r.ring.geo, Head: int64(r.tail)}
	if r.lap > 0 || r.lapped || r.searching && !r.told {
		s.Head = -1
	}
	return s
}

// Mark marks the frames of all lent messages, in shared memory: their owner is about to act on
// them. If the process ends before it releases them, the next reader releases them unread,
// because no message may be acted on twice. It reads frames without a mark again.
func (r *Reader) Mark() {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.mem == nil {
		return
	}
	for i, n := r.tail, uint32(0); n < r.held; i, n = r.ring.next(i), n+1 {
		r.ring.mark(i)
	}
}

// Missing reports to the reader that the queue has no message for the Queued frame: the
// previous process received it and ended before it marked the frame. The frame is skipped. With
// any other reader this is a fault, see Read.
func (r *Reader) Missing() {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.closed || !r.queued {
		return
	}
	r.queued = false
	r.answered.Add(1)
	r.hold(false)
}
