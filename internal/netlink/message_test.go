package netlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSplitMessage(t *testing.T) {
	two := slices.Concat(message(20, 3, 7, 9, 1, 2, 3, 4, 5), message(21, 0, 8, 9, 6))
	tests := []struct {
		name    string
		in      []byte
		payload []byte
		rest    int
		bad     bool
	}{
		{"header only", message(17, 1, 2, 3), []byte{}, 0, false},
		{"two, padding between", two, []byte{1, 2, 3, 4, 5}, 20, false},
		{"final padding missing", message(20, 0, 1, 1, 9, 8, 7)[:19], []byte{9, 8, 7}, 0, false},
		{"part of the padding missing", message(20, 0, 1, 1, 9)[:18], []byte{9}, 0, false},
		{"empty", nil, nil, 0, true},
		{"half a header", two[:15], nil, 0, true},
		{"length below a header", binary.NativeEndian.AppendUint32(nil, 15), nil, 0, true},
		{"length below a header, bytes there", append(binary.NativeEndian.AppendUint32(nil, 15), make([]byte, 20)...), nil, 0, true},
		{"length zero", make([]byte, 32), nil, 0, true},
		{"one byte short", message(20, 0, 1, 1, 1, 2, 3, 4)[:19], nil, 0, true},
		{"length 2^32-1", append(binary.NativeEndian.AppendUint32(nil, 1<<32-1), make([]byte, 20)...), nil, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, payload, rest, err := SplitMessage(tt.in)
			if tt.bad {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("error %v, want ErrMalformed", err)
				}
				if wellFormed(tt.in) {
					t.Error("found well formed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(payload, tt.payload) || len(rest) != tt.rest {
				t.Errorf("payload % x with %d bytes left, want % x with %d", payload, len(rest), tt.payload, tt.rest)
			}
			if !wellFormed(tt.in) {
				t.Error("not found well formed")
			}
		})
	}
	h, _, rest, err := SplitMessage(two)
	if want := (Header{Len: 21, Type: 20, Flags: 3, Seq: 7, PortID: 9}); err != nil || h != want {
		t.Errorf("header %+v, %v; want %+v", h, err, want)
	}
	if h, _, _, _ = SplitMessage(rest); h.Type != 21 || h.Seq != 8 {
		t.Errorf("second header %+v", h)
	}
}

// FuzzSplitMessage: wellFormed predicts the result of SplitMessage.
func FuzzSplitMessage(f *testing.F) {
	f.Add(slices.Concat(message(20, 3, 7, 9, 1, 2, 3, 4, 5), message(21, 0, 8, 9, 6)))
	f.Add(message(2, 0x300, 1, 1, errorPayload(-22, message(16, 1, 1, 1, 5, 6), attr(1, 'n', 'o', 0))...))
	f.Add([]byte{16, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		ok, total := true, 0
		for rest := b; ok; {
			h, payload, next, err := SplitMessage(rest)
			if ok = err == nil; !ok {
				break
			}
			if int(h.Len) != headerLen+len(payload) || len(next) >= len(rest) {
				t.Fatalf("header %+v, payload %d, %d of %d left", h, len(payload), len(next), len(rest))
			}
			parseError(h, payload)
			parseDone(h, payload)
			total += len(rest) - len(next)
			if rest = next; len(rest) == 0 {
				break
			}
		}
		if ok && total != len(b) {
			t.Fatalf("%d of %d bytes taken", total, len(b))
		}
		if ok != wellFormed(b) {
			t.Fatalf("wellFormed says %v, SplitMessage %v", !ok, ok)
		}
	})
}

// errorPayload is a struct nlmsgerr: the errno, the answered message, attributes.
func errorPayload(code int32, answered []byte, tlvs []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(code))
	return append(append(b, answered...), tlvs...)
}

func TestParseError(t *testing.T) {
	req := message(20, 5, 3, 4, 1, 2, 3, 4, 5)
	text := attr(unix.NLMSGERR_ATTR_MSG, []byte("no way\x00")...)
	offs := attr(unix.NLMSGERR_ATTR_OFFS, 1, 0, 0, 0)
	const tlvs, capped = unix.NLM_F_ACK_TLVS, unix.NLM_F_CAPPED
	tests := []struct {
		name    string
		flags   uint16
		payload []byte
		errno   unix.Errno
		extack  string
		ok      bool
	}{
		{"acknowledgement", capped, errorPayload(0, req[:16], nil), 0, "", true},
		{"no text", 0, errorPayload(-int32(unix.ENOENT), req, nil), unix.ENOENT, "", true},
		{"text after the capped request", tlvs | capped, errorPayload(-22, req[:16], slices.Concat(offs, text)), unix.EINVAL, "no way", true},
		{"text after the whole request", tlvs, errorPayload(-22, req, text), unix.EINVAL, "no way", true},
		{"attributes but no flag", 0, errorPayload(-22, req, text), unix.EINVAL, "", true},
		{"request longer than the answer", tlvs, errorPayload(-1, req[:16], nil), unix.EPERM, "", true},
		{"request ends without padding", tlvs, errorPayload(-1, req[:21], nil), unix.EPERM, "", true},
		{"text cut off", tlvs | capped, errorPayload(-22, req[:16], text[:6]), unix.EINVAL, "", true},
		{"no room for the errno", 0, []byte{1, 2, 3}, 0, "", false},
		{"no room for the request's header", 0, errorPayload(-22, req[:15], nil), 0, "", false},
		{"positive errno", capped, errorPayload(22, req[:16], nil), 0, "", false},
		{"smallest number", capped, errorPayload(-1<<31, req[:16], nil), 1 << 31, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			errno, extack, ok := parseError(Header{Flags: tt.flags}, tt.payload)
			if errno != tt.errno || ok != tt.ok {
				t.Errorf("errno %d, %v; want %d, %v", errno, ok, tt.errno, tt.ok)
			}
			if err := answerError("test", unix.EIO, extack).(*OpError); err.Extack != tt.extack {
				t.Errorf("text %q, want %q", err.Extack, tt.extack)
			}
		})
	}
}
