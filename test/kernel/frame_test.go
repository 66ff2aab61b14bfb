//go:build lab

package kernel_test

import (
	"encoding/binary"
	"sync/atomic"
	"testing"

	"dpifd/internal/lab"
)

// among returns a predicate for frames with one of the given contents.
func among(frames ...[]byte) func([]byte) bool {
	set := make(map[string]bool, len(frames))
	for _, f := range frames {
		set[string(f)] = true
	}
	return func(f []byte) bool { return set[string(f)] }
}

const broadcast = "ff:ff:ff:ff:ff:ff"

var serialFrame atomic.Uint32

// frame builds a frame with the experimental Ethertype, unique in this run, of 60 to 1,514 bytes.
func frame(t *testing.T, dst, src string) []byte {
	t.Helper()
	id := serialFrame.Add(1)
	payload := make([]byte, 46+id*211%1455)
	binary.BigEndian.PutUint32(payload, id)
	for i := 4; i < len(payload); i++ {
		payload[i] = byte(i) ^ byte(id)
	}
	return lab.Frame(t, dst, src, 0x88b5, payload)
}

// send sends frames on a packet socket.
func send(t *testing.T, p *lab.Packet, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		if err := p.Send(f); err != nil {
			t.Fatal(err)
		}
	}
}
