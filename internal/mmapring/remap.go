package mmapring

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A ring outlives its mapping: after munmap, and when the process ends while another one
// has the socket, the kernel goes on filling frames, and a second mmap of the same size
// finds them (seen on Linux 4.1.6 and 4.4.0). The kernel does not tell the geometry of a
// ring nor where its reader was, so both travel with the descriptor, as a State.

// State is what the next owner of a ring socket needs to map its RX ring again.
type State struct {
	Geometry Geometry // zero: no ring
	// Head is the next frame to read, -1 where that is not known: the reader was not
	// asked before its process ended.
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
	Answered int // of these, frames that the reader before had marked, see Reader.Mark
	// Guessed: all frames are in use, the head is not known, and no mark shows it. The
	// messages are read once each, but the newest of them may come before older ones.
	Guessed bool
}

// Remap maps the RX ring that the socket fd has, set up by a process before this one or
// by a Mapping that was closed. Unread messages are read by the new Reader; frames that
// the reader before had marked are given back unread. A geometry of another total size is
// refused, with an error that matches unix.EINVAL; one of the same size is not told apart.
// sys nil stands for the running kernel. The caller keeps fd.
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

// resume places the head of a reader that has read nothing yet.
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
	// Where all frames are in use the search begins at the head that is known.
	f.Guessed = r.search() == guessed && head < 0
	return f
}

// outcome of a search.
type found int

const (
	nothing found = iota // all frames are unused
	exact
	guessed // all frames are in use, and nothing shows which is the oldest
)

// search finds the oldest frame in use. Frames in use follow each other: the kernel takes
// them and the reader gives them back in order. So it is the one after an unused frame.
// The kernel may take frames meanwhile, so that a frame seen as unused a moment ago may be
// in use now: from the frame found the search goes back as long as the one before is in
// use. No frame is held.
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
	// All are in use. The oldest ones may be marked. Else begin at the head as it is, and
	// search again once all of them were read.
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

// State is what the next owner of the socket needs, to be asked before Close. With
// messages lent the head is the oldest of these. It is -1 where that is not known, and
// while a ring that was full is read through from a frame that may not be its oldest: the
// next reader would take what came meanwhile for older. So it is read through before it is
// handed over.
func (r *Reader) State() State {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	s := State{Geometry: r.ring.geo, Head: int64(r.tail)}
	if r.lap > 0 || r.lapped || r.searching && !r.told {
		s.Head = -1
	}
	return s
}

// Mark notes in the frames of all messages lent, in shared memory, that their owner is
// about to act on them. Should the process end before it releases them, the next reader
// gives them back unread: what was acted on must not be acted on twice. Frames that are
// not marked are read again.
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

// Missing says that the queue has no message for the Queued frame: the reader before had
// received it, and its process ended before it could mark the frame. The frame is passed
// over. It is a fault with any other reader, see Read.
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
