package odp

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// form is how a field's value is written.
type form uint8

const (
	decimal     form = iota // 17, masks 0x11
	hexadecimal             // 0x11, and 0
	hexPlain                // 0x11, and 0x0
	hex4                    // 0x0011
	hex8                    // 0x00000011
	small                   // 7, masks too
	macForm                 // 02:00:00:00:00:01
	ip4Form
	ip6Form
	wide        // 0x123, a number of any width
	bytesForm   // 0x0123, with leading zeros: the rest of the payload
	stringForm  // NUL-terminated: the rest of the payload
	portForm    // a port's name or number
	fragForm    // no, first, later
	flagsForm   // names of bits
	percentForm // a fraction of the largest number
	presentForm // the VLAN tag's present bit: written only if it is not 1
)

// field is a part of a fixed structure: bytes, or a number that may share its bits with other
// fields.
type field struct {
	name     string // "" for an attribute that is a single value
	alias    string // another name that is read
	off      int    // in bytes
	size     int    // in bytes; 0: up to the payload's end
	form     form
	maskForm form     // of the mask; 0: hexadecimal where the value is decimal, else as the value
	native   bool     // a number in host byte order, not big endian
	shift    int      // of the number's bits in the bytes
	width    int      // in bits; 0: the whole number
	scale    uint64   // the text has the number times scale; 0 means 1
	names    []string // flagsForm: of each bit, from 0
	hexV     bool     // flagsForm: a number if wildcards are shown
	implied  uint64   // the value that is not written
	always   bool     // the mask, if any, is written even if it is full
	optional bool     // without a mask, 0 is not written; in a complete layout it may be left out
	comma    bool     // flagsForm: names are joined by commas
	shown    bool     // printed even if it is wildcarded
}

func (f *field) limit() uint64 {
	if f.width != 0 {
		return 1<<f.width - 1
	}
	return math.MaxUint64 >> (64 - 8*f.size)
}

// isNumber reports whether get and put apply.
func (f *field) isNumber() bool {
	switch f.form {
	case macForm, ip4Form, ip6Form, wide, bytesForm, stringForm:
		return false
	}
	return true
}

// in returns the field's bytes of a payload.
func (f *field) in(b []byte) []byte {
	if f.size == 0 {
		return b[f.off:]
	}
	return b[f.off : f.off+f.size]
}

// load reads the whole number that holds the field.
func (f *field) load(b []byte) uint64 {
	var v uint64
	b = f.in(b)
	for i := range b {
		j := i
		if f.native && littleEndian {
			j = len(b) - 1 - i
		}
		v = v<<8 | uint64(b[j])
	}
	return v
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

func (f *field) get(b []byte) uint64 { return f.load(b) >> f.shift & f.limit() }

func (f *field) put(b []byte, v uint64) {
	whole := f.load(b)&^(f.limit()<<f.shift) | v<<f.shift
	b = f.in(b)
	for i := range b {
		j := len(b) - 1 - i
		if f.native && littleEndian {
			j = i
		}
		b[j] = byte(whole >> (8 * i))
	}
}

// state returns how much of the field a mask covers.
func (f *field) state(mask []byte) (empty, full bool) {
	if f.isNumber() {
		m := f.get(mask)
		return m == 0, m == f.limit()
	}
	b := f.in(mask)
	return allZeros(b), allOnes(b)
}

// append writes the field. A nil mask is a full one. Masks are written if they
// are neither empty nor full, or if masks is set.
func (f *field) append(w *writer, value, mask []byte, masks bool) {
	empty, full := false, true
	if mask != nil {
		empty, full = f.state(mask)
	}
	switch f.form {
	case presentForm:
		if full && f.get(value) == 1 {
			return
		}
	default:
		if empty && !masks && !f.shown && f.name != "" && (!w.verbose || f.form == fragForm) ||
			mask == nil && (f.implied != 0 || f.optional) && f.get(value) == f.implied {
			return
		}
	}
	if f.name != "" {
		w.sep()
		w.puts(f.name)
		w.puts("=")
	}
	if f.form == flagsForm {
		f.appendFlags(w, value, mask, full)
		return
	}
	f.appendValue(w, value, f.form)
	if !full || masks || f.always && mask != nil {
		w.puts("/")
		if mask == nil {
			mask = allBits(len(value))
		}
		as := f.form
		switch {
		case f.maskForm != 0:
			as = f.maskForm
		case as == decimal, as == portForm, as == fragForm, as == percentForm:
			as = hexadecimal
		}
		f.appendValue(w, mask, as)
	}
}

func (f *field) appendValue(w *writer, b []byte, as form) {
	if !f.isNumber() {
		f.appendBytes(w, f.in(b))
		return
	}
	v := f.get(b)
	if f.scale != 0 {
		v *= f.scale
	}
	switch {
	case as == portForm:
		w.port(PortNo(v))
	case as == fragForm && v < uint64(len(fragNames)):
		w.puts(fragNames[v])
	case as == percentForm:
		w.puts(percent(v))
	case as == hexPlain, as == hexadecimal && v != 0, as == fragForm:
		w.putf("%#x", v)
	case as == hex8:
		w.putf("0x%08x", v)
	case as == hex4:
		w.putf("0x%04x", v)
	default:
		w.putf("%d", v)
	}
}

// fragNames are those of enum ovs_frag_type.
var fragNames = [...]string{"no", "first", "later"}

func (f *field) appendBytes(w *writer, b []byte) {
	switch f.form {
	case macForm:
		w.puts(MAC(b).String())
	case ip4Form:
		w.puts(netip.AddrFrom4([4]byte(b)).String())
	case ip6Form:
		w.puts(netip.AddrFrom16([16]byte(b)).String())
	case bytesForm:
		w.putf("0x%x", b)
	case stringForm:
		w.puts(string(b[:len(b)-1]))
	case wide:
		w.puts(wideHex(f.order(b)))
	}
}

// order converts a number of any width between the field's byte order and big endian.
func (f *field) order(b []byte) []byte {
	o := make([]byte, len(b))
	for i := range b {
		if f.native && littleEndian {
			o[i] = b[len(b)-1-i]
		} else {
			o[i] = b[i]
		}
	}
	return o
}

// wideHex writes a big endian number without leading zeros.
func wideHex(b []byte) string {
	s := strings.TrimLeft(hex.EncodeToString(b), "0")
	if s == "" {
		return "0"
	}
	return "0x" + s
}

// appendFlags writes a|b if all bits are matched, +a-b if only some are.
func (f *field) appendFlags(w *writer, value, mask []byte, full bool) {
	v, m := f.get(value), f.limit()
	if mask != nil {
		m = f.get(mask)
	}
	switch {
	case f.hexV && w.verbose && full:
		f.appendValue(w, value, hexadecimal)
	case f.hexV && w.verbose:
		f.appendValue(w, value, hexadecimal)
		w.puts("/")
		f.appendValue(w, mask, hexadecimal)
	case m == 0:
		w.puts("0/0")
	case full && v == 0:
		w.puts("0")
	case full:
		f.eachBit(v, func(i int, name string) {
			switch {
			case v&(1<<i-1) == 0:
			case f.comma:
				w.puts(",")
			default:
				w.puts("|")
			}
			w.puts(name)
		})
	default:
		f.eachBit(m, func(i int, name string) {
			if v&(1<<i) != 0 {
				w.puts("+")
			} else {
				w.puts("-")
			}
			w.puts(name)
		})
	}
}

func (f *field) eachBit(v uint64, fn func(i int, name string)) {
	for ; v != 0; v &= v - 1 {
		i := bits.TrailingZeros64(v)
		if i < len(f.names) && f.names[i] != "" {
			fn(i, f.names[i])
		} else {
			fn(i, "0x"+strconv.FormatUint(1<<i, 16))
		}
	}
}

// percent writes v as a share of the largest 32-bit number, with the fewest digits, at least
// one after the point, that read back as v.
func percent(v uint64) string {
	for digits := 1; ; digits++ {
		s := strconv.FormatFloat(float64(v)*100/math.MaxUint32, 'f', digits, 64)
		back, _ := strconv.ParseFloat(s, 64)
		if fromPercent(back) == v || digits == 12 {
			return s + "%"
		}
	}
}

func fromPercent(share float64) uint64 {
	return uint64(math.Floor(math.MaxUint32*(share/100) + 0.5))
}
