package upcall

import "sync/atomic"

// limiter limits the upcalls of one port (PortConfig.MaxUpcalls) with a token bucket that fills
// at the rate and holds one second's worth. It belongs to the handler's goroutine, except rate,
// which any goroutine may change.
//
// Upcalls above the limit are received and dropped before they are decoded. Leaving them on the
// socket, so that the kernel drops later ones, would save the copy, a small part of the
// kernel's cost of a message. But the queue would stay full: each accepted packet would have
// waited for the whole queue (4 MiB at 1,000 upcalls a second is 9 s), and the kernel's drop
// counter would not distinguish shed load from a queue that is too small.
type limiter struct {
	rate atomic.Uint32 // upcalls a second, 0 no limit

	// shedding: the last upcall was over the limit.
	shedding bool
	inForce  uint32 // rate of the bucket
	tokens   int64  // thousandths of an upcall
	filled   int64  // when tokens were added, in ms
}

// perUpcall is the number of tokens of an upcall, chosen so that each millisecond adds rate
// tokens.
const perUpcall = 1000

// admit takes one upcall's tokens at the time now, in ms, or reports that there
// are too few.
func (l *limiter) admit(now int64) bool {
	rate := l.rate.Load()
	if rate == 0 {
		l.inForce, l.shedding = 0, false
		return true
	}
	if rate != l.inForce {
		l.inForce, l.tokens, l.filled = rate, perUpcall*int64(rate), now
	} else if elapsed := now - l.filled; elapsed > 0 {
		// After a second the bucket is full in any case.
		l.tokens = min(perUpcall*int64(rate), l.tokens+min(elapsed, 1000)*int64(rate))
		l.filled = now
	}
	if l.shedding = l.tokens < perUpcall; l.shedding {
		return false
	}
	l.tokens -= perUpcall
	return true
}
