package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// maxIovecs is UIO_MAXIOV, linux/uio.h.
	maxIovecs = 1024
	// copyLimit is the largest payload, in bytes, for which a copy costs less than gathering.
	copyLimit = 512
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
	payloads [][]byte // gathered
	size     int      // bytes of all messages

	// State of the open message.
	gathered bool   // it has its gathered attribute
	head     int    // end of that attribute in the encoder's buffer
	payload  []byte // the part that is not in the buffer

	iovs []unix.Iovec // of the part being sent
	hdr  unix.Msghdr  // of the part being sent
}

// batchMessage is a message as offsets in the encoder's buffer, which moves
// when it grows: bytes start to head, then payload, then head to end without
// the first skip bytes.
type batchMessage struct {
	start, head, end int
	skip             int
	payload          int // its place in payloads, or noPayload
	size             int // in bytes
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

// Gather appends the open message's last attribute, whose payload is sent from its place unless
// it is short. It must not change until the batch was sent, and the batch refers to it until
// Reset.
func (b *SendBatch) Gather(t uint16, payload []byte) {
	if b.enc.err == nil && (!b.enc.open || b.gathered) {
		b.enc.fail("attribute %d gathered outside of a message or after another", t)
		return
	}
	if len(payload) <= copyLimit {
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
	m := batchMessage{start: b.enc.start, head: b.enc.Len(), payload: noPayload}
	if n > 0 {
		m.payload = len(b.payloads)
		b.payloads = append(b.payloads, b.payload)
	}
	if pad > 0 {
		// Append four zeros, of which the last ones are sent, to keep the next message aligned in
		// the buffer.
		b.enc.RawUint32(0)
		m.skip = messageAlign - pad
	}
	m.end = b.enc.Len()
	m.size = m.end - m.start - m.skip + n
	b.msgs = append(b.msgs, m)
	b.size += m.size
	b.gathered, b.payload = false, nil
}

// payloadOf returns the part of m that is not in the encoder's buffer.
func (b *SendBatch) payloadOf(m *batchMessage) []byte {
	if m.payload == noPayload {
		return nil
	}
	return b.payloads[m.payload]
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
	last := -1 // where the last iovec ends in buf, -1 if it is a payload
	for ; from+n < len(b.msgs) && n < l.messages; n++ {
		m := &b.msgs[from+n]
		// A message adds three iovecs at most.
		if m.size > l.bytes-size || len(b.iovs)+3 > maxIovecs {
			break
		}
		size += m.size
		stamp(buf[m.start:], flags, seq+uint32(n), portID)
		if last == m.start && m.payload == noPayload && m.skip == 0 {
			v := &b.iovs[len(b.iovs)-1]
			v.SetLen(int(v.Len) + m.end - m.start)
			last = m.end
			continue
		}
		last = b.addBuffered(last, m.start, m.head)
		if p := b.payloadOf(m); p != nil {
			b.iovs = append(b.iovs, iovec(p))
			last = -1
		}
		last = b.addBuffered(last, m.head+m.skip, m.end)
	}
	b.hdr = unix.Msghdr{}
	if n > 0 {
		b.hdr.Iov = &b.iovs[0]
		b.hdr.SetIovlen(len(b.iovs))
	}
	return n
}

// addBuffered adds bytes i to j of the buffer, to the last iovec if that ends at i.
func (b *SendBatch) addBuffered(last, i, j int) int {
	switch {
	case i == j:
		return last
	case last == i:
		v := &b.iovs[len(b.iovs)-1]
		v.SetLen(int(v.Len) + j - i)
	default:
		b.iovs = append(b.iovs, iovec(b.enc.buf[i:j]))
	}
	return j
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
	flags |= binary.NativeEndian.Uint16(b[flagsOffset:])
	binary.NativeEndian.PutUint16(b[flagsOffset:], flags)
	binary.NativeEndian.PutUint32(b[seqOffset:], seq)
	binary.NativeEndian.PutUint32(b[pidOffset:], portID)
}
