package netlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// encodeSample encodes one attribute of each kind.
func encodeSample(e *Encoder) {
	e.Flag(1)
	e.Uint8(2, 0xfe)
	e.Uint16(3, 0x1234)
	e.Uint32(4, 0xdeadbeef)
	e.Uint64(5, 0x0102030405060708)
	e.Attr(6, []byte{9, 8, 7, 6, 5})
	e.String(7, "dp0")
	e.Nested(8|unix.NLA_F_NESTED, func(e *Encoder) {
		e.Uint16(1, 42)
		e.Nested(2|unix.NLA_F_NESTED, func(e *Encoder) { e.Attr(3, []byte{1}) })
	})
	e.Attr(9, nil)
}

// TestEncoderAgainstOracle: mdlayher/netlink must encode the same attributes to the same bytes.
func TestEncoderAgainstOracle(t *testing.T) {
	var e Encoder
	encodeSample(&e)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	o := mdlayher.NewAttributeEncoder()
	o.Flag(1, true)
	o.Uint8(2, 0xfe)
	o.Uint16(3, 0x1234)
	o.Uint32(4, 0xdeadbeef)
	o.Uint64(5, 0x0102030405060708)
	o.Bytes(6, []byte{9, 8, 7, 6, 5})
	o.String(7, "dp0")
	o.Nested(8, func(o *mdlayher.AttributeEncoder) error {
		o.Uint16(1, 42)
		o.Nested(2, func(o *mdlayher.AttributeEncoder) error { o.Bytes(3, []byte{1}); return nil })
		return nil
	})
	o.Bytes(9, nil)
	want, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, e.Bytes()); diff != "" {
		t.Errorf("bytes differ (-oracle +ours):\n%s", diff)
	}
}

func TestAttrsReadWhatEncoderWrote(t *testing.T) {
	var e Encoder
	encodeSample(&e)
	it := NewAttrs(e.Bytes())
	var types []uint16
	for it.Next() {
		types = append(types, it.Type())
		var got, want any
		switch it.Type() {
		case 1:
			got, want = len(it.Data()), 0
		case 2:
			got, want = it.Uint8(), uint8(0xfe)
		case 3:
			got, want = it.Uint16(), uint16(0x1234)
		case 4:
			got, want = it.Uint32(), uint32(0xdeadbeef)
		case 5:
			got, want = it.Uint64(), uint64(0x0102030405060708)
		case 6:
			got, want = string(it.Data()), "\x09\x08\x07\x06\x05"
		case 7:
			got, want = it.String(), "dp0"
		case 8:
			in := it.Nested()
			if !in.Next() || in.Type() != 1 || in.Uint16() != 42 || !in.Next() || in.Type() != 2 || in.Next() ||
				in.Err() != nil {
				t.Errorf("nested attributes not read back: %v", in.Err())
			}
		}
		if got != want {
			t.Errorf("attribute %d: %v, want %v", it.Type(), got, want)
		}
	}
	if err := it.Err(); err != nil {
		t.Error(err)
	}
	if want := []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(types, want) {
		t.Errorf("types %v, want %v", types, want)
	}
}

func TestAttrsMalformed(t *testing.T) {
	good := attr(5, 1, 2, 3, 4)
	tests := []struct {
		name string
		in   []byte
		seen int // attributes before the error
	}{
		{"half a header", slices.Concat(good, []byte{8, 0, 1}), 1},
		{"length below a header", []byte{3, 0, 1, 0}, 0},
		{"length zero", slices.Concat(good, make([]byte, 4)), 1},
		{"length beyond the end", slices.Concat(good, good, []byte{9, 0, 1, 0, 1, 2, 3, 4}), 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			it := NewAttrs(tt.in)
			n := 0
			for it.Next() {
				n++
			}
			if !errors.Is(it.Err(), ErrMalformed) || n != tt.seen {
				t.Errorf("%d attributes, error %v; want %d, ErrMalformed", n, it.Err(), tt.seen)
			}
			if it.Next() {
				t.Error("continues after the error")
			}
		})
	}
	unpadded := NewAttrs(attr(5, 1, 2, 3, 4, 5)[:9])
	if !unpadded.Next() || len(unpadded.Data()) != 5 || unpadded.Next() || unpadded.Err() != nil {
		t.Errorf("last attribute without padding: %v", unpadded.Err())
	}
}

func TestAttrsWrongSizeLatches(t *testing.T) {
	for name, read := range map[string]func(*Attrs){
		"Uint8":  func(a *Attrs) { a.Uint8() },
		"Uint16": func(a *Attrs) { a.Uint16() },
		"Uint32": func(a *Attrs) { a.Uint32() },
		"Uint64": func(a *Attrs) { a.Uint64() },
	} {
		it := NewAttrs(slices.Concat(attr(5, 1, 2, 3), attr(6, 1)))
		it.Next()
		if read(&it); !errors.Is(it.Err(), ErrMalformed) {
			t.Errorf("%s of three bytes: error %v, want ErrMalformed", name, it.Err())
		}
		if it.Next() {
			t.Errorf("%s: iteration continues after the error", name)
		}
	}
}

func TestEncoderMessages(t *testing.T) {
	var e Encoder
	e.Begin(0x20, 5)
	e.Raw(1, 2, 3, 4)
	e.RawUint32(0x01020304)
	e.Attr(3, []byte{7})
	e.End()
	e.Begin(0x21, 0)
	e.End()
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	body := binary.NativeEndian.AppendUint32([]byte{1, 2, 3, 4}, 0x01020304)
	want := slices.Concat(message(0x20, 5, 0, 0, append(body, attr(3, 7)...)...), message(0x21, 0, 0, 0))
	if diff := cmp.Diff(want, e.Bytes()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestEncoderErrorsLatch(t *testing.T) {
	tests := map[string]func(e *Encoder){
		"attribute too long":       func(e *Encoder) { e.Attr(1, make([]byte, 65532)) },
		"string too long":          func(e *Encoder) { e.String(1, string(make([]byte, 65531))) },
		"nested too long":          func(e *Encoder) { e.Nested(1, func(e *Encoder) { e.Attr(2, make([]byte, 65529)) }) },
		"end without begin":        func(e *Encoder) { e.End() },
		"begin inside of message":  func(e *Encoder) { e.Begin(1, 0); e.Begin(2, 0) },
		"header out of alignment":  func(e *Encoder) { e.Raw(1, 2, 3) },
		"space out of alignment":   func(e *Encoder) { e.Space(9) },
		"space beyond a length":    func(e *Encoder) { e.Space(65536) },
		"space after an error":     func(e *Encoder) { e.Raw(1); e.Space(8) },
		"failure inside of nested": func(e *Encoder) { e.Nested(1, func(e *Encoder) { e.Raw(1) }) },
	}
	for name, fn := range tests {
		t.Run(name, func(t *testing.T) {
			var e Encoder
			fn(&e)
			err, n := e.Err(), e.Len()
			if err == nil {
				t.Fatal("no error")
			}
			encodeSample(&e)
			e.Begin(1, 0)
			e.End()
			if e.Err() != err || e.Len() != n {
				t.Errorf("after the error: %v with %d bytes, want %v with %d", e.Err(), e.Len(), err, n)
			}
			if e.Clear(); e.Err() != nil || e.Len() != 0 {
				t.Errorf("after Clear: %v with %d bytes", e.Err(), e.Len())
			}
		})
	}
	var e Encoder
	e.Attr(1, make([]byte, 65531))
	if e.Err() != nil {
		t.Errorf("largest attribute: %v", e.Err())
	}
}

// FuzzAttrs: for any bytes there is no panic, everything returned lies inside the input, and
// mdlayher/netlink reads the same attributes from what was written again.
func FuzzAttrs(f *testing.F) {
	var e Encoder
	encodeSample(&e)
	f.Add(e.Bytes())
	f.Add([]byte{3, 0, 1, 0})
	f.Add(attr(5, 1, 2, 3, 4, 5)[:9])
	f.Fuzz(func(t *testing.T, b []byte) {
		sameAttrs(t, b)
		it := NewAttrs(b)
		var again Encoder
		for it.Next() {
			if len(it.Data()) > len(b)-attrHeaderLen || cap(it.Data()) != len(it.Data()) {
				t.Fatalf("attribute of %d bytes, capacity %d, in %d", len(it.Data()), cap(it.Data()), len(b))
			}
			again.Attr(it.Type(), it.Data())
			in := it.Nested()
			for in.Next() {
				_ = in.String()
			}
		}
		if it.Err() != nil {
			if !errors.Is(it.Err(), ErrMalformed) {
				t.Fatalf("error %v", it.Err())
			}
			return
		}
		// What was read and written again is read identically.
		a, c := NewAttrs(b), NewAttrs(again.Bytes())
		for a.Next() {
			if !c.Next() || a.Type() != c.Type() || !bytes.Equal(a.Data(), c.Data()) {
				t.Fatalf("type %d % x became type %d % x", a.Type(), a.Data(), c.Type(), c.Data())
			}
		}
		if c.Next() || c.Err() != nil {
			t.Fatalf("attributes more than read, or %v", c.Err())
		}
		// mdlayher/netlink requires the last attribute's padding.
		o, err := mdlayher.NewAttributeDecoder(again.Bytes())
		if err != nil {
			t.Fatalf("oracle: %v", err)
		}
		n := NewAttrs(again.Bytes())
		for o.Next() && n.Next() {
			if o.Type() != n.Type() || !bytes.Equal(o.Bytes(), n.Data()) {
				t.Fatalf("oracle: type %d % x, ours %d % x", o.Type(), o.Bytes(), n.Type(), n.Data())
			}
		}
		if o.Err() != nil || n.Next() {
			t.Fatalf("oracle: %v, or it read less", o.Err())
		}
	})
}

func TestCodecDoesNotAllocate(t *testing.T) {
	e := &Encoder{}
	var sum uint64
	assertAllocs(t, "encode and decode", func() {
		e.Clear()
		e.Begin(0x20, 0)
		encodeSample(e)
		e.End()
		_, payload, _, err := SplitMessage(e.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		it := NewAttrs(payload)
		for it.Next() {
			sum += uint64(it.Type())
			if it.Type() == 8 {
				in := it.Nested()
				for in.Next() {
					sum++
				}
			}
		}
	})
	if sum == 0 {
		t.Error("nothing decoded")
	}
}

// sameAttrs compares all ways to read a list with the iterator. The previous content of the table
// must not matter: another list, one with the same headers, or the shorter one.
func sameAttrs(t *testing.T, b []byte) {
	t.Helper()
	alike := bytes.Clone(b)
	for it := NewAttrs(alike); it.Next(); {
		for i := range it.Data() {
			it.Data()[i] ^= 0xff
		}
	}
	for _, before := range [][]byte{attr(9, 1, 2, 3, 4), alike, b[:len(b)/2]} {
		sameAttrsAfter(t, before, b)
	}
}

func sameAttrsAfter(t *testing.T, before, b []byte) {
	t.Helper()
	var table AttrTable
	_ = table.Scan(before)
	scanned, checked := table.Scan(b), CheckAttrs(b)
	it, rest := NewAttrs(b), b
	first, at := map[uint16][]byte{}, map[uint16]int{}
	for it.Next() {
		typ, data, next := CutAttr(rest)
		if typ != it.Type() || !bytes.Equal(data, it.Data()) || cap(data) != len(data) {
			t.Errorf("% x: cut type %d % x, want %d % x", b, typ, data, it.Type(), it.Data())
		}
		here := len(b) - len(rest)
		if typ, from, to, end := AttrAt(b, here); typ != it.Type() || !bytes.Equal(b[from:to], data) ||
			min(end, len(b)) != len(b)-len(next) {
			t.Errorf("% x: at %d: type %d, bytes %d to %d, the next at %d", b, here, typ, from, to, end)
		}
		if first[typ] == nil {
			first[typ], at[typ] = it.Data(), here
		}
		rest = next
	}
	for _, typ := range append(slices.Collect(maps.Keys(first)), 0, 1, 5, 9, 31, 32, 33, attrTypeMask) {
		for how, got := range map[string][]byte{"found": FindAttr(b, typ), "in the table": table.Get(typ)} {
			if want := first[typ]; !bytes.Equal(got, want) || (got == nil) != (want == nil) {
				t.Errorf("% x: type %d %s: % x (nil: %v), want % x", b, typ, how, got, got == nil, want)
			}
		}
	}
	for typ := range uint16(tableTypes) {
		want, is := at[typ]
		if !is {
			want = len(b)
		}
		if got := table.Before(typ); len(got) != want || !bytes.HasPrefix(b, got) || is != table.HasAny(1<<typ) {
			t.Errorf("% x: before type %d: % x; the type is there: %v; want %d bytes, %v", b, typ, got,
				table.HasAny(1<<typ), want, is)
		}
	}
	if typ, _, _, _ := AttrAt(b, len(b)-len(rest)); typ != NoAttr {
		t.Errorf("% x: type %d in the rest % x", b, typ, rest)
	}
	if typ, _, _ := CutAttr(rest); typ != NoAttr || (len(rest) > 0) != (it.Err() != nil) {
		t.Errorf("% x: the rest is % x, cut type %d; want %v", b, rest, typ, it.Err())
	}
	for _, err := range []error{scanned, table.Err(), checked} {
		if fmt.Sprint(err) != fmt.Sprint(it.Err()) {
			t.Errorf("% x: error %v, want %v", b, err, it.Err())
		}
	}
}

// TestAttrLookup uses whole lists and lists cut at each byte.
func TestAttrLookup(t *testing.T) {
	var e Encoder
	e.Uint32(3, 7)
	e.Attr(4|unix.NLA_F_NESTED, []byte{1, 2, 3})
	e.Flag(5)
	e.Uint16(3, 8)
	e.Uint8(31, 1)
	e.Uint8(32, 2)
	e.Uint8(32, 3)
	e.Attr(attrTypeMask, []byte{9, 9, 9, 9, 9})
	for n := range e.Len() + 1 {
		sameAttrs(t, e.Bytes()[:n])
	}
}

func TestAttrTableOf(t *testing.T) {
	var table AttrTable
	b := slices.Concat(attr(1, 2), attr(1, 2))
	if !table.Of(nil) || table.Of(b) {
		t.Error("the zero table does not match exactly the empty list")
	}
	if err := table.Scan(b[:8]); err != nil {
		t.Fatal(err)
	}
	if !table.Of(b[:8]) || table.Of(b[8:]) || table.Of(b) || table.Of(nil) {
		t.Error("a table matches other bytes")
	}
}

// TestPutAttr: PutAttr writes the same bytes that Attr appends.
func TestPutAttr(t *testing.T) {
	for n := range 12 {
		var put, appended Encoder
		put.Reset(bytes.Repeat([]byte{0xff}, 256))
		b := put.Space(AttrSize(n) + AttrSize(3))
		rest := PutAttr(PutAttr(b, 7, pattern(n, n)), 8|unix.NLA_F_NESTED, []byte{1, 2, 3})
		appended.Attr(7, pattern(n, n))
		appended.Attr(8|unix.NLA_F_NESTED, []byte{1, 2, 3})
		if diff := cmp.Diff(appended.Bytes(), put.Bytes()); diff != "" || len(rest) != 0 {
			t.Errorf("%d bytes differ (-appended +put), %d left:\n%s", n, len(rest), diff)
		}
	}
}

// TestEncoderOverwrites uses a buffer with old content.
func TestEncoderOverwrites(t *testing.T) {
	var fresh, used Encoder
	used.Reset(bytes.Repeat([]byte{0xff}, 512))
	for _, e := range []*Encoder{&fresh, &used} {
		e.Begin(1, 2)
		encodeSample(e)
		e.End()
	}
	if diff := cmp.Diff(fresh.Bytes(), used.Bytes()); diff != "" || used.Err() != nil {
		t.Errorf("bytes differ (-fresh +used), error %v:\n%s", used.Err(), diff)
	}
}
