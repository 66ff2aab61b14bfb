package upcall

import (
	"sync"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/policy"
)

// spoofed is what is kept of packets that a port may not send.
type spoofed struct {
	packets atomic.Uint64 // that came up, and that flows dropped in the kernel

	mu     sync.Mutex // guards the rest, an example
	taken  bool
	reason string
	size   int // of the key
	key    [maxExample]byte
}

// maxExample is the greatest length of a key that is kept as an example. Those without
// tunnel metadata of many options are shorter.
const maxExample = 512

// SpoofedPacket is one packet that a port may not send.
type SpoofedPacket struct {
	Reason string // of Verdict.Reason; empty if no packet came up yet
	Key    []byte // OVS_KEY_ATTR_* attributes
}

// note counts a packet that came up, and keeps it as an example if the last one was
// taken.
func (s *spoofed) note(u *dpif.Upcall, v *policy.Verdict) {
	s.packets.Add(1)
	if len(u.Key) > len(s.key) || !s.mu.TryLock() {
		return
	}
	if s.taken || s.size == 0 {
		s.reason, s.size, s.taken = v.Reason, copy(s.key[:], u.Key), false
	}
	s.mu.Unlock()
}

// CreditSpoofed counts packets that flows have dropped since the port may not send them.
func (p *Port) CreditSpoofed(packets uint64) { p.spoofed.packets.Add(packets) }

// SpoofedPacket returns one of the last packets that came up and that the port may not
// send. The caller owns it.
func (p *Port) SpoofedPacket() SpoofedPacket {
	s := &p.spoofed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = true
	return SpoofedPacket{Reason: s.reason, Key: append([]byte(nil), s.key[:s.size]...)}
}
