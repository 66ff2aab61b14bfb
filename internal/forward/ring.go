package forward

import "dpifd/internal/odp"

// ring is a port's entries in a circular list, for eviction by second chance (CLOCK). A table
// keeps its rings in ranks, lists of rings with the same number of entries, so that the longest
// is found in constant time. The table's mutex guards everything.
type ring struct {
	port       odp.PortNo
	n          int    // entries
	limit      int    // maximum number of entries; 0 is no limit
	evicted    uint64 // entries evicted
	hand       int32  // the entry to check first; none if n is 0
	next, prev *ring  // in the rank
}

// addRing adds an empty ring for port.
func (t *table) addRing(port odp.PortNo) {
	r := &ring{port: port, hand: none}
	t.rings[port] = r
	t.enterRank(r)
}

// ring returns the port's ring, nil if it has none.
func (t *table) ring(port odp.PortNo) *ring {
	if r := t.last; r != nil && r.port == port {
		return r
	}
	t.last = t.rings[port]
	return t.last
}

// full reports whether the port is at its limit.
func (r *ring) full() bool { return r.limit > 0 && r.n >= r.limit }

func (t *table) dropRing(r *ring) {
	if t.last == r {
		t.last = nil
	}
	t.leaveRank(r)
	delete(t.rings, r.port)
}

func (t *table) enterRank(r *ring) {
	head := &t.ranks[r.n]
	r.prev, r.next = nil, *head
	if *head != nil {
		(*head).prev = r
	}
	*head = r
}

func (t *table) leaveRank(r *ring) {
	if r.prev == nil {
		t.ranks[r.n] = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	}
}

// resize moves r to the rank of one entry more or less. So the longest ring's
// length changes by one at most.
func (t *table) resize(r *ring, by int) {
	t.leaveRank(r)
	r.n += by
	t.enterRank(r)
	switch {
	case r.n > t.longest:
		t.longest = r.n
	case t.ranks[t.longest] == nil:
		t.longest--
	}
}

// link inserts entry i into r at the position that the hand reaches last.
func (t *table) link(r *ring, i int32) {
	e := &t.entries[i]
	if r.hand == none {
		e.next, e.prev, r.hand = i, i, i
	} else {
		hand := &t.entries[r.hand]
		e.next, e.prev = r.hand, hand.prev
		t.entries[hand.prev].next = i
		hand.prev = i
	}
	t.resize(r, +1)
}

func (t *table) unlink(r *ring, i int32) {
	e := &t.entries[i]
	if e.next == i {
		r.hand = none
	} else {
		t.entries[e.prev].next = e.next
		t.entries[e.next].prev = e.prev
		if r.hand == i {
			r.hand = e.next
		}
	}
	t.resize(r, -1)
}

// victim chooses the entry to evict when a port learns a MAC: of the port itself if it is at
// its limit, else of the port with the most entries, so that a port that floods the table with
// sources only affects itself. It takes the first entry that was not refreshed since the hand
// last passed. It stops after one round, because entries may be refreshed meanwhile. Amortised
// cost is O(1): each step over an entry clears a refresh.
func (t *table) victim(learner *ring) int32 {
	r := t.ranks[t.longest]
	if learner.n == t.longest || learner.full() {
		r = learner
	}
	for range r.n {
		e := &t.entries[r.hand]
		if !e.refreshed.Swap(false) {
			break
		}
		r.hand = e.next
	}
	return r.hand
}
