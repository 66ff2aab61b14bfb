package upcall

import (
	"sync"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/policy"
)

// spoofed holds the counter and an example of packets that a port may not send.
type spoofed struct {
	packets atomic.Uint64 // upcalls, and packets dropped by flows in the kernel

	mu     sync.Mutex // guards the rest, which is an example
	taken  bool
	reason string
	size   int // length of the key
	key    [maxExample]byte
}

// maxExample is the maximum length of a key that is kept as an example. Only keys with many options
// of tunnel metadata are longer.
const maxExample = 512

// SpoofedPacket is one packet that a port may not send.
type SpoofedPacket struct {
	Reason string // Verdict.Reason; "" if there was no such packet yet
	Key    []byte // OVS_KEY_ATTR_* attributes
}

// note counts an upcall, and keeps it as an example if the previous one was read.
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

// CreditSpoofed adds packets that flows have dropped because the port may not send them.
func (p *Port) CreditSpoofed(packets uint64) { p.spoofed.packets.Add(packets) }

// SpoofedPacket returns a recent packet that the port may not send. The caller owns it.
func (p *Port) SpoofedPacket() SpoofedPacket {
	s := &p.spoofed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = true
	return SpoofedPacket{Reason: s.reason, Key: append([]byte(nil), s.key[:s.size]...)}
}
