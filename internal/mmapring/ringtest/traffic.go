package ringtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Traffic describes the load of several senders on one socket. Shares are per thousand messages.
type Traffic struct {
	Messages uint64
	Senders  int
	Seed     uint64
	MinSize  int // bytes, at least 16
	MaxSize  int // bytes, of messages that fit in a frame
	Jumbo    int // share of messages sent by COPY
	Aborted  int // share of aborted frames
	// Patient is the share of messages whose sender waits while the ring is full. The others are
	// lost, as in a kernel.
	Patient int
	// Linger is the share of frames that stay RESERVED while other senders continue.
	Linger int
}

// Run sends t's messages, and returns when the last one has been delivered or lost, or the socket
// was closed.
func (s *Socket) Run(t Traffic) {
	var left atomic.Int64
	left.Store(int64(t.Messages))
	var senders sync.WaitGroup
	for i := range t.Senders {
		rng := rand.New(rand.NewPCG(t.Seed, uint64(i)))
		senders.Go(func() {
			for left.Add(-1) >= 0 && !s.stopped.Load() {
				s.sendOne(t, rng)
			}
		})
	}
	senders.Wait()
}

func (s *Socket) sendOne(t Traffic, rng *rand.Rand) {
	size := t.MinSize + rng.IntN(t.MaxSize-t.MinSize+1)
	if rng.IntN(1000) < t.Patient {
		s.awaitRoom()
	}
	if rng.IntN(1000) < t.Jumbo {
		size = int(s.rx.req.frameSize) + rng.IntN(4*int(s.rx.req.frameSize))
		// The socket counts losses.
		_ = s.Queue(func(seq uint64) []byte {
			msg := make([]byte, size)
			Fill(msg, seq)
			return msg
		})
		return
	}
	p, err := s.Reserve(size)
	if err != nil {
		return
	}
	if rng.IntN(1000) < t.Linger {
		for range 1 + rng.IntN(20) {
			runtime.Gosched()
		}
	}
	if rng.IntN(1000) < t.Aborted {
		p.Abort()
		return
	}
	Fill(p.Room()[:size], p.Seq)
	p.Complete(size)
}

func (s *Socket) awaitRoom() {
	for i := 0; !s.stopped.Load(); i++ {
		s.mu.Lock()
		room := s.rx.status(s.rx.head) == statusUnused && !s.congested
		s.mu.Unlock()
		if room {
			return
		}
		if i == 0 {
			s.waits.Add(1)
		}
		if i < 50 {
			runtime.Gosched()
		} else {
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// ErrContent means that a message differs from what was sent.
var ErrContent = errors.New("ringtest: message is not whole")

// Fill writes message number seq to p: every byte depends on seq and the length. p must have at
// least 16 bytes.
func Fill(p []byte, seq uint64) {
	binary.LittleEndian.PutUint64(p, seq)
	binary.LittleEndian.PutUint64(p[8:], uint64(len(p)))
	x := word(seq, len(p))
	i := 16
	for ; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], x+uint64(i))
	}
	for ; i < len(p); i++ {
		p[i] = byte(x >> 8)
	}
}

// Check returns the number of a message written by Fill, or ErrContent.
func Check(p []byte) (seq uint64, err error) {
	if len(p) < 16 || binary.LittleEndian.Uint64(p[8:]) != uint64(len(p)) {
		return 0, fmt.Errorf("%w: length %d", ErrContent, len(p))
	}
	seq = binary.LittleEndian.Uint64(p)
	x := word(seq, len(p))
	i := 16
	for ; i+8 <= len(p); i += 8 {
		if binary.LittleEndian.Uint64(p[i:]) != x+uint64(i) {
			return 0, fmt.Errorf("%w: message %d, byte %d of %d", ErrContent, seq, i, len(p))
		}
	}
	for ; i < len(p); i++ {
		if p[i] != byte(x>>8) {
			return 0, fmt.Errorf("%w: message %d, byte %d of %d", ErrContent, seq, i, len(p))
		}
	}
	return seq, nil
}

func word(seq uint64, n int) uint64 { return (seq+uint64(n)<<40+1)*0x9e3779b97f4a7c15 ^ seq>>7 }
