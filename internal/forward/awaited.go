package forward

import "sync/atomic"

const awaitedBits = 1 << 16

// awaited is the set of unknown MACs to which packets were flooded. Learning such a MAC changes
// earlier decisions; learning any other one does not. The set contains hashes, so it may
// confuse two MACs, which costs an unnecessary check of flows.
type awaited struct {
	bits [awaitedBits / 32]atomic.Uint32
}

func (a *awaited) bit(hash uint64) (*atomic.Uint32, uint32) {
	// The upper half, since the lower bits select the bucket.
	i := hash >> 32 % awaitedBits
	return &a.bits[i/32], 1 << (i % 32)
}

// add adds a MAC to the set. The caller looks the MAC up again afterwards: either it finds the
// MAC, or the goroutine that learns it finds it in the set.
func (a *awaited) add(hash uint64) {
	if word, bit := a.bit(hash); word.Load()&bit == 0 {
		word.Or(bit)
	}
}

// take removes a MAC and reports whether it was in the set. Another MAC with the same hash is
// added again when its flows are re-decided.
func (a *awaited) take(hash uint64) bool {
	word, bit := a.bit(hash)
	return word.Load()&bit != 0 && word.And(^bit)&bit != 0
}
