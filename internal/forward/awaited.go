package forward

import "sync/atomic"

const awaitedBits = 1 << 16

// awaited is the set of MACs that packets were flooded to because nobody knew
// them. Learning such a MAC changes decisions that were made before; learning
// any other one does not. It holds hashes, so it may take a MAC for
// another: that costs a look at flows that need none.
type awaited struct {
	bits [awaitedBits / 32]atomic.Uint32
}

func (a *awaited) bit(hash uint64) (*atomic.Uint32, uint32) {
	// The upper half: the lower bits have chosen the bucket.
	i := hash >> 32 % awaitedBits
	return &a.bits[i/32], 1 << (i % 32)
}

// add puts a MAC into the set. Who adds one looks it up again afterwards:
// either that finds the MAC, or who learns it finds it awaited.
func (a *awaited) add(hash uint64) {
	if word, bit := a.bit(hash); word.Load()&bit == 0 {
		word.Or(bit)
	}
}

// take removes a MAC and reports whether it was in the set. Flows that await
// another one of the same hash come back into it when they are decided
// anew.
func (a *awaited) take(hash uint64) bool {
	word, bit := a.bit(hash)
	return word.Load()&bit != 0 && word.And(^bit)&bit != 0
}
