package netlink

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// headerLen is NLMSG_HDRLEN, linux/netlink.h.
	headerLen = 16
	// messageAlign is NLMSG_ALIGNTO, linux/netlink.h.
	messageAlign = 4
	// errorLen is sizeof(struct nlmsgerr), linux/netlink.h: the errno and the
	// header of the message it answers.
	errorLen = 4 + headerLen

	// Offsets in struct nlmsghdr.
	flagsOffset = 6
	seqOffset   = 8
	pidOffset   = 12
)

// Header is struct nlmsghdr, linux/netlink.h.
type Header struct {
	Len         uint32 // of the message, header included, padding not
	Type, Flags uint16
	Seq         uint32
	PortID      uint32
}

// SplitMessage splits one message off the front of b, which must not be empty. The payload is what
// follows the header; rest begins with the next message and is empty after the last. Both alias b.
// The error matches ErrMalformed if b does not begin with a whole message.
//
// The last message may lack its padding, which the kernel leaves out if OVS_DP_F_UNALIGNED is set.
func SplitMessage(b []byte) (h Header, payload, rest []byte, err error) {
	if len(b) < headerLen {
		return Header{}, nil, nil, malformed("message header of %d bytes, want %d", len(b), headerLen)
	}
	h = readHeader(b)
	if h.Len < headerLen || uint64(h.Len) > uint64(len(b)) {
		return Header{}, nil, nil, malformed("message length %d with %d bytes left", h.Len, len(b))
	}
	n := int(h.Len)
	return h, b[headerLen:n:n], b[min(align(n), len(b)):], nil
}

// readHeader reads the header in front of b, which must hold one.
func readHeader(b []byte) Header {
	return Header{
		Len:    binary.NativeEndian.Uint32(b),
		Type:   binary.NativeEndian.Uint16(b[4:]),
		Flags:  binary.NativeEndian.Uint16(b[flagsOffset:]),
		Seq:    binary.NativeEndian.Uint32(b[seqOffset:]),
		PortID: binary.NativeEndian.Uint32(b[pidOffset:]),
	}
}

func malformed(format string, args ...any) error {
	return &OpError{Op: "decode", Err: fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))}
}

func align(n int) int { return (n + messageAlign - 1) &^ (messageAlign - 1) }

// wellFormed reports whether b is a sequence of one or more whole messages.
func wellFormed(b []byte) bool {
	for len(b) >= headerLen {
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerLen || n > len(b) {
			return false
		}
		if n = align(n); n >= len(b) {
			return true
		}
		b = b[n:]
	}
	return false
}

// parseError decodes the payload of NLMSG_ERROR (struct nlmsgerr and, with NLM_F_ACK_TLVS,
// attributes). errno 0 is an acknowledgement. ok is false if the payload is too short or the code
// is not one that the kernel sends.
func parseError(h Header, payload []byte) (errno unix.Errno, extack []byte, ok bool) {
	if len(payload) < errorLen {
		return 0, nil, false
	}
	if errno, ok = parseErrno(payload); !ok {
		return 0, nil, false
	}
	tlvs := errorLen
	if h.Flags&unix.NLM_F_CAPPED == 0 {
		// The answer contains the whole request.
		n := binary.NativeEndian.Uint32(payload[4:])
		if n < headerLen || uint64(n) > uint64(len(payload)-4) {
			return errno, nil, true
		}
		tlvs = min(4+align(int(n)), len(payload))
	}
	return errno, extackText(h, payload[tlvs:]), true
}

// parseDone decodes the payload of NLMSG_DONE: the dump's errno, missing in some families, and with
// NLM_F_ACK_TLVS attributes.
func parseDone(h Header, payload []byte) (errno unix.Errno, extack []byte, ok bool) {
	if len(payload) == 0 {
		return 0, nil, true
	}
	if errno, ok = parseErrno(payload); !ok {
		return 0, nil, false
	}
	return errno, extackText(h, payload[4:]), true
}

// parseErrno reads the errno in front of b. The kernel sends it negative. A positive number may
// be the return value of a dump in NLMSG_DONE, but it is never an errno, so it is refused.
func parseErrno(b []byte) (unix.Errno, bool) {
	if len(b) < 4 {
		return 0, false
	}
	code := int64(int32(binary.NativeEndian.Uint32(b)))
	if code > 0 {
		return 0, false
	}
	return unix.Errno(-code), true
}

func extackText(h Header, tlvs []byte) []byte {
	if h.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return nil
	}
	it := NewAttrs(tlvs)
	for it.Next() {
		if it.Type() == unix.NLMSGERR_ATTR_MSG {
			return it.Data()
		}
	}
	return nil
}

// answerError returns the error for an answer with errno, nil for 0.
func answerError(op string, errno unix.Errno, extack []byte) error {
	if errno == 0 {
		return nil
	}
	for len(extack) > 0 && extack[len(extack)-1] == 0 {
		extack = extack[:len(extack)-1]
	}
	return &OpError{Op: op, Err: errno, Extack: string(extack)}
}
