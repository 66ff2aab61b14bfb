package netlink

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wire returns the bytes that one system call for part of b would send.
func (b *SendBatch) wire() []byte {
	var out []byte
	for i := range b.iovs {
		out = append(out, (&slots{msgs: []mmsghdr{{len: uint32(b.iovs[i].Len)}}, iovs: b.iovs[i : i+1]}).datagram(0)...)
	}
	return out
}

// TestSendBatchGathersWhatEncoderCopies: a gathered attribute has the same bytes as a copied one,
// for any length and neighbours.
func TestSendBatchGathersWhatEncoderCopies(t *testing.T) {
	var b SendBatch
	for round, sizes := range [][]int{{0}, {1}, {2, 3, 4}, {1500, 0, 9001, 65531},
		{CopyLimit - 1, CopyLimit, CopyLimit + 1, CopyLimit + 2}, {-1, 5, -1, -1, 7, -1}} {
		b.Reset()
		var want Encoder
		for i, n := range sizes {
			typ, flags := uint16(0x20+i), uint16(i)
			if i%2 == 1 { // one without gathered attribute between others
				want.Begin(typ+100, flags|1)
				want.Raw(pattern(i, 4*i)...)
				want.End()
				copy(b.Message(typ+100, flags, 4*i), pattern(i, 4*i))
				stamp(want.buf[want.start:], 0, uint32(100+b.Len()-1), 77)
			}
			e := b.Begin(typ, flags)
			want.Begin(typ, flags|1)
			for _, e := range []*Encoder{e, &want} {
				e.Raw(1, 2, 3, 4)
				e.Attr(2, pattern(i, i))
			}
			if n >= 0 {
				b.Gather(3, pattern(round, n))
				want.Attr(3, pattern(round, n))
			}
			b.End()
			want.End()
			stamp(want.buf[want.start:], 0, uint32(100+b.Len()-1), 77)
		}
		if err := b.Err(); err != nil {
			t.Fatal(err)
		}
		if n := b.part(0, limits{math.MaxInt, math.MaxInt}, 1, 100, 77); n != len(sizes)+len(sizes)/2 || b.Len() != n {
			t.Fatalf("%d of %d messages in one part, Len %d", n, len(sizes), b.Len())
		}
		if diff := cmp.Diff(want.Bytes(), b.wire()); diff != "" {
			t.Errorf("payloads of %v bytes (-copied +gathered):\n%s", sizes, diff)
		}
		if b.size != want.Len() {
			t.Errorf("payloads of %v bytes: size %d, want %d", sizes, b.size, want.Len())
		}
	}
}

func TestSendBatchParts(t *testing.T) {
	var b SendBatch
	for i := range 700 {
		b.Begin(0x20, 0).Uint32(1, uint32(i))
		b.Gather(2, pattern(i, CopyLimit+5)) // 16 + 8 + 4 + 517 bytes and 3 of padding
		b.End()
	}
	tests := []struct {
		limits limits
		want   []int
	}{
		// Each message has 2 pieces, as its padding and the next message's head are one piece; the
		// last has 3.
		{limits{math.MaxInt, math.MaxInt}, []int{511, 189}},
		{limits{300, math.MaxInt}, []int{300, 300, 100}},
		{limits{math.MaxInt, 548 * 400}, []int{400, 300}},
		{limits{math.MaxInt, 548*400 + 547}, []int{400, 300}},
		{limits{math.MaxInt, 547}, []int{0}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%+v", tt.limits), func(t *testing.T) {
			var got []int
			for from := 0; from < b.Len(); {
				n := b.part(from, tt.limits, 1, uint32(from), 1)
				if len(b.iovs) > maxIovecs {
					t.Fatalf("%d pieces", len(b.iovs))
				}
				if len(b.wire()) != n*548 {
					t.Fatalf("%d bytes in a part of %d messages", len(b.wire()), n)
				}
				got = append(got, n)
				if from += n; n == 0 {
					break
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("messages by part (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSendBatchMisuse(t *testing.T) {
	tests := map[string]func(b *SendBatch){
		"message inside of a message":       func(b *SendBatch) { b.Begin(20, 0); b.Message(20, 0, 4); b.End() },
		"message that is not aligned":       func(b *SendBatch) { b.Message(20, 0, 5) },
		"gather outside of a message":       func(b *SendBatch) { b.Gather(1, []byte{1}) },
		"two gathered":                      func(b *SendBatch) { b.Begin(20, 0); b.Gather(1, nil); b.Gather(2, nil); b.End() },
		"attribute after the gathered one":  func(b *SendBatch) { e := b.Begin(20, 0); b.Gather(1, []byte{1}); e.Flag(2); b.End() },
		"gathered payload too large":        func(b *SendBatch) { b.Begin(20, 0); b.Gather(1, make([]byte, 65532)); b.End() },
		"not ended":                         func(b *SendBatch) { b.Begin(20, 0) },
		"ended twice":                       func(b *SendBatch) { b.Begin(20, 0); b.End(); b.End() },
		"begun twice":                       func(b *SendBatch) { b.Begin(20, 0); b.Begin(21, 0); b.End() },
		"attribute of the message too long": func(b *SendBatch) { b.Begin(20, 0).Attr(1, make([]byte, 70000)); b.End() },
	}
	for name, fn := range tests {
		t.Run(name, func(t *testing.T) {
			var b SendBatch
			fn(&b)
			var op *OpError
			if err := b.Err(); !errors.As(err, &op) {
				t.Fatalf("error %v, want an OpError", err)
			}
			b.Reset()
			b.Begin(20, 0).Flag(1)
			b.End()
			if b.Err() != nil || b.Len() != 1 || b.size != 20 {
				t.Errorf("after Reset: %v, %d messages of %d bytes", b.Err(), b.Len(), b.size)
			}
		})
	}
}

// TestSendBatchForgetsPayloads: gathered payloads may be in memory that is unmapped later.
func TestSendBatchForgetsPayloads(t *testing.T) {
	var b SendBatch
	b.Begin(20, 0)
	b.Gather(1, pattern(1, CopyLimit+1))
	b.End()
	b.part(0, limits{math.MaxInt, math.MaxInt}, 1, 1, 1)
	b.sent()
	b.Reset()
	for _, p := range b.payloads[:cap(b.payloads)] {
		if p.payload != nil {
			t.Error("payload referenced after Reset")
		}
	}
	for _, v := range b.iovs[:cap(b.iovs)] {
		if v.Base != nil {
			t.Error("piece referenced after it was sent")
		}
	}
}
