package upcall

import "sync/atomic"

// limiter bounds the upcalls of one port (PortConfig.MaxUpcalls): a bucket of
// tokens that fills at the rate and holds one second's worth. It belongs to the
// handler's goroutine, but for rate, which any goroutine may change.
//
// What exceeds the limit is received and dropped before it is decoded. To leave
// it on the socket, so that the kernel drops what comes after, would spare the
// copy, which is a small part of what the kernel has spent on the message by
// then. But the queue would stay full: each packet let through would have
// waited for all of it (4 MiB at 1,000 upcalls a second is 9 s), and the
// kernel's count of drops would not tell shed load from a queue too small.
type limiter struct {
	rate atomic.Uint32 // upcalls a second, 0 no limit

	// shedding: the last upcall was over the limit.
	shedding bool
	inForce  uint32 // the rate that the bucket is of
	tokens   int64  // thousandths of an upcall
	filled   int64  // when tokens were added, in ms
}

// perUpcall is how many tokens an upcall takes: as many as come in a second for
// each upcall a second, so that each millisecond adds rate tokens.
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
		// Within a second the bucket is full, whatever it held.
		l.tokens = min(perUpcall*int64(rate), l.tokens+min(elapsed, 1000)*int64(rate))
		l.filled = now
	}
	if l.shedding = l.tokens < perUpcall; l.shedding {
		return false
	}
	l.tokens -= perUpcall
	return true
}
