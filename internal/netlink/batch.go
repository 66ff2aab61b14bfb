package netlink

import (
	"fmt"

	"dpifd/internal/mmapring"

	"golang.org/x/sys/unix"
)

// Batch is receive memory: room for a number of datagrams of up to 68 KiB, which
// Receiver.Receive fills, or lends from a ring, until Release. Several
// receives, from several receivers, may fill one Batch. It belongs to one
// goroutine at a time.
type Batch struct {
	slots slots
	used  int      // slots whose datagrams are lent; the free ones follow
	data  [][]byte // the datagrams lent, in the order received
	// leases are the ring frames lent, in runs of one ring each.
	leases []lease
}

// lease is a run of frames of one ring.
type lease struct {
	ring   *mmapring.Reader
	frames int
}

// NewBatch maps memory for n datagrams. Unused pages take no memory.
func NewBatch(n int) (*Batch, error) {
	if n <= 0 {
		return nil, &OpError{Op: "mmap", Err: fmt.Errorf("room for %d datagrams: %w", n, unix.EINVAL)}
	}
	b := &Batch{data: make([][]byte, 0, n), leases: make([]lease, 0, n)}
	if err := b.slots.mmap(n); err != nil {
		return nil, err
	}
	return b, nil
}

// Len returns the number of datagrams lent.
func (b *Batch) Len() int { return len(b.data) }

// Free returns the number of datagrams for which there is room.
func (b *Batch) Free() int { return b.slots.len() - max(b.used, len(b.data)) }

// lend records that a frame of the ring must be released.
func (b *Batch) lend(ring *mmapring.Reader) {
	if n := len(b.leases); n > 0 && b.leases[n-1].ring == ring {
		b.leases[n-1].frames++
		return
	}
	b.leases = append(b.leases, lease{ring, 1})
}

// Data returns datagram i, one or more whole messages. It is borrowed until
// Release.
func (b *Batch) Data(i int) []byte { return b.data[i] }

// Mark marks the lent ring frames: their messages are about to be acted on. If this process
// ends before Release, the process that takes the ring over sees the marks; see mmapring's
// Reader.Mark.
func (b *Batch) Mark() {
	for i := range b.leases {
		b.leases[i].ring.Mark()
	}
}

// Release takes all datagrams back and returns ring frames to the kernel in the order of
// receipt. Len becomes 0.
func (b *Batch) Release() {
	for i := range b.leases {
		b.leases[i].ring.Release(b.leases[i].frames)
	}
	clear(b.leases)
	b.leases = b.leases[:0]
	clear(b.data)
	b.data = b.data[:0]
	b.used = 0
}

// Close releases the datagrams and unmaps the memory: a datagram still in use
// would fault. It is idempotent; a closed Batch has no room.
func (b *Batch) Close() error {
	b.Release()
	return b.slots.munmap()
}
