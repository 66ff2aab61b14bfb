package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// maxIovecs is UIO_MAXIOV, linux/uio.h.
	maxIovecs = 1024
	// CopyLimit is the largest payload, in bytes, for which a copy costs less than gathering.
	CopyLimit = 512
)

// SendBatch collects messages to be sent together. The last attribute of each may be gathered:
// sent from its place, without a copy.
//
//	b.Reset()
//	e := b.Begin(family, 0)
//	e.Raw(...)
//	e.Uint32(...)
//	b.Gather(OVS_PACKET_ATTR_PACKET, packet)
//	b.End()
//	err := conn.Send(b, failed)
//
// The zero value is ready for use. Memory is kept from Reset to Reset. A
// SendBatch belongs to one goroutine at a time; sending fills in the headers
// of its messages.
type SendBatch struct {
	enc      Encoder
	msgs     []batchMessage
	payloads []gatheredPayload
	size     int // bytes of all messages

	// State of the open message.
	gathered bool   // it has its gathered attribute
	head     int    // end of that attribute in the encoder's buffer
	payload  []byte // the part that is not in the buffer

	iovs []unix.Iovec // of the part being sent
	hdr  unix.Msghdr  // of the part being sent
}

// batchMessage is a message of size bytes, from start on in the encoder's buffer, which moves
// when it grows. gathered is the index in payloads of what is not in the buffer, or noPayload.
type batchMessage struct{ start, size, gathered int }

// gatheredPayload is sent after the buffer's bytes up to head, and before those from tail
// to end, which are its padding.
type gatheredPayload struct {
	payload         []byte
	head, tail, end int
}

const noPayload = -1

// Reset empties the batch and drops its references to gathered payloads.
func (b *SendBatch) Reset() {
	b.enc.Clear()
	b.msgs = b.msgs[:0]
	// Payloads may be in mapped memory. A pointer that outlives the mapping could later point
	// into Go's heap.
	clear(b.payloads)
	b.payloads = b.payloads[:0]
	b.size = 0
	b.gathered, b.payload = false, nil
}

// Begin opens a message and returns the encoder for its headers and attributes, valid until
// End. NLM_F_REQUEST, sequence number and port id are added when the message is sent.
func (b *SendBatch) Begin(typ, flags uint16) *Encoder {
	b.enc.Begin(typ, flags)
	b.gathered, b.payload = false, nil
	return &b.enc
}

// Message adds a message whose payload of size bytes, a multiple of the alignment, the caller
// must fill: it contains old data. The slice is valid until the next call, and nil after an
// error. It does what Begin, Encoder.Space and End do, at a third of the cost.
func (b *SendBatch) Message(typ, flags uint16, size int) []byte {
	e := &b.enc
	if e.err != nil || e.open || size%attrAlign != 0 {
		e.fail("message of %d bytes inside of a message, or not aligned", size)
		return nil
	}
	start, n := len(e.buf), headerLen+size
	m := e.extend(n)
	h := (*[headerLen]byte)(m)
	binary.NativeEndian.PutUint32(h[:], uint32(n))
	binary.NativeEndian.PutUint16(h[4:], typ)
	binary.NativeEndian.PutUint16(h[flagsOffset:], flags)
	b.add(start, n, noPayload)
	return m[headerLen:]
}

// Gather appends the open message's last attribute, whose payload is sent from its place unless
// it is short. It must not change until the batch was sent, and the batch refers to it until
// Reset.
func (b *SendBatch) Gather(t uint16, payload []byte) {
	if b.enc.err == nil && (!b.enc.open || b.gathered) {
		b.enc.fail("attribute %d gathered outside of a message or after another", t)
		return
	}
	if len(payload) <= CopyLimit {
		b.enc.Attr(t, payload)
	} else if b.enc.attr(t, len(payload), 0) != nil {
		b.payload = payload
	}
	b.gathered, b.head = true, b.enc.Len()
}

// End closes the message.
func (b *SendBatch) End() {
	if b.gathered && b.enc.Len() != b.head {
		b.enc.fail("attribute appended after the gathered one")
	}
	n := len(b.payload)
	pad := align(n) - n
	b.enc.end(n + pad)
	if b.enc.err != nil {
		return
	}
	start, payload := b.enc.start, b.payload
	b.gathered, b.payload = false, nil
	if n == 0 {
		b.add(start, b.enc.Len()-start, noPayload)
		return
	}
	p := gatheredPayload{payload: payload, head: b.enc.Len(), tail: b.enc.Len()}
	if pad > 0 {
		// Append four zeros, of which the last ones are sent, to keep the next message aligned in
		// the buffer.
		b.enc.RawUint32(0)
		p.tail += messageAlign - pad
	}
	p.end = b.enc.Len()
	b.payloads = append(b.payloads, p)
	b.add(start, p.head-start+n+pad, len(b.payloads)-1)
}

func (b *SendBatch) add(start, size, gathered int) {
	b.msgs = append(b.msgs, batchMessage{start, size, gathered})
	b.size += size
}

// Len returns the number of messages.
func (b *SendBatch) Len() int { return len(b.msgs) }

// Err returns the first error since Reset, or nil. A batch with an error is
// not sent.
func (b *SendBatch) Err() error {
	if b.enc.err == nil && b.enc.open {
		b.enc.fail("message not ended")
	}
	return b.enc.err
}

// limits limit one system call. All are at least one.
type limits struct{ messages, bytes int }

// part prepares hdr for one system call that sends messages starting at from, as many as the
// limits allow, with sequence numbers from seq on. It returns their number: 0 if the first
// message exceeds the limit of bytes.
func (b *SendBatch) part(from int, l limits, flags uint16, seq, portID uint32) int {
	b.iovs = b.iovs[:0]
	n, size := 0, 0
	buf := b.enc.buf
	begin, end := 0, 0 // these bytes of buf are not in an iovec yet
	for ; from+n < len(b.msgs) && n < l.messages; n++ {
		m := b.msgs[from+n]
		// A message adds three iovecs at most.
		if m.size > l.bytes-size || len(b.iovs)+3 > maxIovecs {
			break
		}
		size += m.size
		stamp(buf[m.start:], flags, seq+uint32(n), portID)
		if m.start != end {
			b.addBuffered(begin, end)
			begin = m.start
		}
		if end = m.start + m.size; m.gathered == noPayload {
			continue
		}
		p := &b.payloads[m.gathered]
		b.addBuffered(begin, p.head)
		b.iovs = append(b.iovs, iovec(p.payload))
		begin, end = p.tail, p.end
	}
	b.addBuffered(begin, end)
	b.hdr = unix.Msghdr{}
	if n > 0 {
		b.hdr.Iov = &b.iovs[0]
		b.hdr.SetIovlen(len(b.iovs))
	}
	return n
}

// addBuffered adds bytes i to j of the buffer, if there are any.
func (b *SendBatch) addBuffered(i, j int) {
	if i < j {
		b.iovs = append(b.iovs, iovec(b.enc.buf[i:j]))
	}
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

// sent drops the pointers that part set up.
func (b *SendBatch) sent() {
	clear(b.iovs)
	b.iovs = b.iovs[:0]
	b.hdr = unix.Msghdr{}
}

// stamp completes the nlmsghdr in front of b.
func stamp(b []byte, flags uint16, seq, portID uint32) {
	h := (*[headerLen]byte)(b)
	flags |= binary.NativeEndian.Uint16(h[flagsOffset:])
	binary.NativeEndian.PutUint16(h[flagsOffset:], flags)
	binary.NativeEndian.PutUint32(h[seqOffset:], seq)
	binary.NativeEndian.PutUint32(h[pidOffset:], portID)
}
