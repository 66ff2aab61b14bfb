package forward

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"dpifd/internal/odp"
)

const (
	none   = -1            // no entry
	never  = math.MaxInt64 // entry.seen of a free entry
	shards = 64            // locks over the buckets; a power of two
)

// table maps MACs to ports. newTable allocates all memory, except that of new ports (setPorts).
//
// Entries are in hash chains. A chain, and key and port of its entries, are changed with both
// the mutex and the lock of the chain's shard held, so they may be read with either. Other
// fields that are read concurrently are atomic.
type table struct {
	seed    maphash.Seed
	mask    uint64  // of the hash, for the bucket
	buckets []int32 // first entry, or none
	entries []entry
	locks   [shards]shard

	awaited   awaited
	forgotten forgotten
	// oldest is a lower bound of the entries' sightings.
	oldest atomic.Int64

	mu      sync.Mutex
	free    int32 // first free entry, chained
	rings   map[odp.PortNo]*ring
	last    *ring   // the one that ring returned last
	ranks   []*ring // by number of entries
	longest int     // the largest index of ranks in use
	stats   Stats   // its counters
	flaps   flaps
}

type shard struct {
	sync.RWMutex
	_ [40]byte // one lock per cache line
}

type entry struct {
	key        uint64       // macKey
	seen       atomic.Int64 // ms
	port       odp.PortNo
	refreshed  atomic.Bool // since the hand last passed
	wanted     atomic.Bool // a decision used it: flows may output to it
	chain      int32       // the bucket's next entry, or the next free one
	next, prev int32       // in the port's ring
}

// macKey is the key of a MAC in a VLAN; 0 is untagged.
func macKey(vlan uint16, mac odp.MAC) uint64 { return uint64(vlan)<<48 | mac.Uint64() }

func newTable(limit int) *table {
	n := max(shards, 1<<bits.Len(uint(2*limit-1)))
	t := &table{
		seed: maphash.MakeSeed(), mask: uint64(n - 1),
		buckets: make([]int32, n), entries: make([]entry, limit),
		rings: map[odp.PortNo]*ring{}, ranks: make([]*ring, limit+1),
	}
	for i := range t.buckets {
		t.buckets[i] = none
	}
	for i := range t.entries {
		t.entries[i].seen.Store(never)
		t.entries[i].chain = int32(i) + 1
	}
	t.entries[limit-1].chain = none
	return t
}

func (t *table) hash(key uint64) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], key)
	return maphash.Bytes(t.seed, b[:])
}

func (t *table) bucket(hash uint64) (*int32, *shard) {
	h := hash & t.mask
	return &t.buckets[h], &t.locks[h%shards]
}

// find returns the entry in the chain that begins at i.
func (t *table) find(i int32, key uint64) int32 {
	for i != none && t.entries[i].key != key {
		i = t.entries[i].chain
	}
	return i
}

// lookup returns the port on which the key was last seen.
func (t *table) lookup(key uint64) (port odp.PortNo, ok bool) {
	return t.lookupHash(key, t.hash(key), false)
}

// await is lookup for a decision that changes when the key is learned, moves or is removed.
// silent means that the key was removed and that installed flows may prevent it from being
// learned again.
func (t *table) await(key uint64) (port odp.PortNo, ok, silent bool) {
	hash := t.hash(key)
	if port, ok = t.lookupHash(key, hash, true); ok {
		return port, true, false
	}
	t.awaited.add(hash)
	port, ok = t.lookupHash(key, hash, true)
	return port, ok, !ok && t.forgotten.take(hash)
}

func (t *table) lookupHash(key, hash uint64, wanted bool) (port odp.PortNo, ok bool) {
	head, lock := t.bucket(hash)
	lock.RLock()
	if i := t.find(*head, key); i != none {
		e := &t.entries[i]
		port, ok = e.port, true
		if wanted && !e.wanted.Load() {
			e.wanted.Store(true)
		}
	}
	lock.RUnlock()
	return port, ok
}

// refresh records a sighting.
func (e *entry) refresh(seen int64) {
	for old := e.seen.Load(); old < seen; old = e.seen.Load() {
		if e.seen.CompareAndSwap(old, seen) {
			break
		}
	}
	if !e.refreshed.Load() {
		e.refreshed.Store(true)
	}
}

// learn records that key was seen on port at the time seen, and reports whether earlier
// decisions may change: key has moved, packets for it were flooded, it was removed on another
// port, or an entry with flows was evicted for it. With atHand the packet is being processed
// now and wins over the table. Without, it is a report of the past: it loses against an equally
// new sighting on another port, and does not evict a newer entry if the table is full.
func (t *table) learn(key uint64, port odp.PortNo, seen int64, atHand bool) bool {
	hash := t.hash(key)
	head, lock := t.bucket(hash)
	lock.RLock()
	i := t.find(*head, key)
	known := i != none && t.entries[i].port == port
	if known {
		t.entries[i].refresh(seen)
	}
	lock.RUnlock()
	if known {
		return false
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.ring(port)
	if r == nil {
		return false // not a port of the datapath, or no longer
	}
	if i := t.find(*head, key); i != none {
		return t.move(i, r, lock, seen, atHand)
	}
	changed := false
	if t.free == none || r.full() {
		evicted := false
		if evicted, changed = t.evict(r, seen, atHand); !evicted {
			return false
		}
	}
	i = t.free
	e := &t.entries[i]
	t.free = e.chain
	lock.Lock()
	e.key, e.port, e.chain = key, port, *head
	e.seen.Store(seen)
	t.older(seen)
	e.refreshed.Store(false)
	e.wanted.Store(false)
	*head = i
	lock.Unlock()
	t.link(r, i)
	t.stats.Learned++
	changed = t.awaited.take(hash) || changed
	return t.forgotten.elsewhere(hash, port) || changed
}

// evict makes room for an entry of ring r that was seen at the time seen. It reports whether it
// could, because a report of the past does not evict a newer entry, and whether flows may lead
// to the evicted MAC.
func (t *table) evict(r *ring, seen int64, atHand bool) (ok, wanted bool) {
	v := t.victim(r)
	e := &t.entries[v]
	if !atHand && e.seen.Load() >= seen {
		return false, false
	}
	t.rings[e.port].evicted++
	t.remove(v)
	t.stats.Evicted++
	return true, e.wanted.Load()
}

// move moves entry i to ring r.
func (t *table) move(i int32, r *ring, lock *shard, seen int64, atHand bool) bool {
	e := &t.entries[i]
	if e.port == r.port { // moved by another goroutine meanwhile
		e.refresh(seen)
		return false
	}
	if !atHand && e.seen.Load() >= seen {
		return false
	}
	changed := false
	if r.full() {
		evicted := false
		if evicted, changed = t.evict(r, seen, atHand); !evicted {
			return false
		}
	}
	lock.Lock()
	if !atHand && e.seen.Load() >= seen {
		lock.Unlock()
		return changed
	}
	from := t.rings[e.port]
	e.port = r.port
	e.refresh(seen)
	lock.Unlock()
	t.unlink(from, i)
	t.link(r, i)
	t.stats.Moved++
	t.flaps.moved(e.key, from.port, r.port, seen)
	return true
}

// remove frees entry i. The caller holds the mutex.
func (t *table) remove(i int32) { t.removeOlder(i, never) }

// removeOlder frees entry i unless it is free or was seen at the time before or later, and reports
// whether it did. The caller holds the mutex.
func (t *table) removeOlder(i int32, before int64) bool {
	e := &t.entries[i]
	hash := t.hash(e.key)
	head, lock := t.bucket(hash)
	lock.Lock()
	if e.seen.Load() >= before {
		lock.Unlock()
		return false
	}
	link := head
	for *link != i {
		link = &t.entries[*link].chain
	}
	*link = e.chain
	e.seen.Store(never)
	lock.Unlock()
	t.forgotten.add(hash, e.port)
	t.unlink(t.rings[e.port], i)
	e.chain, t.free = t.free, i
	return true
}

// older records a sighting that may be the oldest.
func (t *table) older(seen int64) {
	for old := t.oldest.Load(); seen < old; old = t.oldest.Load() {
		if t.oldest.CompareAndSwap(old, seen) {
			return
		}
	}
}

// anyOlder reports whether an entry was last seen earlier than before. It scans the entries
// only if one may be.
func (t *table) anyOlder(before int64) bool {
	if t.oldest.Load() >= before {
		return false
	}
	// MACs learned meanwhile lower this again.
	t.oldest.Store(never)
	oldest := int64(never)
	for i := range t.entries {
		oldest = min(oldest, t.entries[i].seen.Load())
	}
	t.older(oldest)
	return oldest < before
}

// expire removes the entries last seen earlier than before and reports whether
// flows may lead to one of them.
func (t *table) expire(before int64) (changed bool) {
	for i := range t.entries {
		if t.entries[i].seen.Load() >= before {
			continue
		}
		t.mu.Lock()
		if t.removeOlder(int32(i), before) {
			t.stats.Expired++
			changed = changed || t.entries[i].wanted.Load()
		}
		t.mu.Unlock()
	}
	return changed
}

// setPorts adds rings, and removes rings with their entries.
func (t *table) setPorts(set *portSet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range set.ports {
		p := &set.ports[i]
		if t.rings[p.no] == nil {
			t.addRing(p.no)
		}
		t.rings[p.no].limit = p.macLimit
	}
	for no, r := range t.rings {
		if set.has(no) {
			continue
		}
		for r.hand != none {
			t.remove(r.hand)
			t.stats.Flushed++
		}
		t.dropRing(r)
	}
}
