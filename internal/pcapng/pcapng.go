// Package pcapng writes packets of a datapath to a file that Wireshark and tcpdump read: an
// interface for each port, and comments with each packet, such as the decision.
//
// The format is that of draft-ietf-opsawg-pcapng, little-endian, with four kinds of blocks and
// a few options. The package does not use gopacket's writer, because its tables take 5 MB of
// resident memory in any program that links it.
//
// A Writer belongs to one goroutine. It keeps no reference to its arguments.
package pcapng

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// Blocks and options of the format.
const (
	blockInterface = 1
	blockPacket    = 6 // the enhanced one
	blockSection   = 0x0a0d0d0a

	byteOrderMagic = 0x1a2b3c4d
	linkEthernet   = 1 // LINKTYPE_ETHERNET

	optEnd              = 0
	optComment          = 1
	optSectionOS        = 3
	optSectionProgram   = 4
	optInterfaceName    = 2
	optInterfaceTSResol = 9
	optPacketFlags      = 2

	flagInbound = 1
)

// maxComment is the maximum size of a comment in bytes: the length of an option has 16 bits,
// and readers may refuse large blocks.
const maxComment = 16 << 10

// Packet is one frame received on a port.
type Packet struct {
	Time time.Time
	Port string // name of the in-port
	Data []byte // from its Ethernet header on
	// Length is the frame's size in bytes before it was truncated to Data; 0 if it was not.
	Length   int
	Comments []string // UTF-8; cut to 16 KiB each
}

// Writer writes packets to one file, or to a pipe: it never seeks.
type Writer struct {
	out   *bufio.Writer
	block []byte            // block under construction
	ports map[string]uint32 // interfaces by the port's name
}

// NewWriter writes the file's header. application is the name of the capturing program,
// datapath the captured datapath, whose local port is the first interface.
func NewWriter(w io.Writer, application, datapath string) (*Writer, error) {
	p := &Writer{out: bufio.NewWriter(w), ports: map[string]uint32{}}
	p.begin(blockSection)
	p.uint32(byteOrderMagic)
	p.uint32(1)         // version 1.0: the major number, then the minor
	p.uint32(1<<32 - 1) // the section's length, 64 bits, is not known
	p.uint32(1<<32 - 1)
	p.option(optComment, "upcalls of datapath "+datapath)
	p.option(optSectionOS, "Linux")
	p.option(optSectionProgram, application)
	if err := p.end(); err != nil {
		return nil, fmt.Errorf("pcapng header: %w", err)
	}
	_, err := p.port(datapath)
	return p, err
}

// port returns the interface of a port, and creates it if it is new.
func (w *Writer) port(name string) (uint32, error) {
	id, known := w.ports[name]
	if known {
		return id, nil
	}
	w.begin(blockInterface)
	w.uint32(linkEthernet)
	w.uint32(0) // packets of any length
	w.option(optInterfaceName, name)
	w.option(optInterfaceTSResol, "\x09") // nanoseconds
	if err := w.end(); err != nil {
		return 0, fmt.Errorf("pcapng interface %s: %w", name, err)
	}
	id = uint32(len(w.ports))
	w.ports[name] = id
	return id, nil
}

// Write appends a packet. It may stay in the Writer's buffer until Flush.
func (w *Writer) Write(p Packet) error {
	id, err := w.port(p.Port)
	if err != nil {
		return err
	}
	at := uint64(p.Time.UnixNano())
	w.begin(blockPacket)
	w.uint32(id)
	w.uint32(uint32(at >> 32))
	w.uint32(uint32(at))
	w.uint32(uint32(len(p.Data)))
	w.uint32(uint32(max(p.Length, len(p.Data))))
	w.block = append(w.block, p.Data...)
	w.pad()
	w.option(optPacketFlags, string(binary.LittleEndian.AppendUint32(nil, flagInbound)))
	for _, c := range p.Comments {
		if c != "" {
			w.option(optComment, clip(c))
		}
	}
	if err := w.end(); err != nil {
		return fmt.Errorf("pcapng packet of %s: %w", p.Port, err)
	}
	return nil
}

// begin begins a block, whose length end fills in.
func (w *Writer) begin(kind uint32) {
	w.block = w.block[:0]
	w.uint32(kind)
	w.uint32(0)
}

// end ends the block's options, and writes it.
func (w *Writer) end() error {
	w.uint32(optEnd)
	n := uint32(len(w.block) + 4)
	binary.LittleEndian.PutUint32(w.block[4:], n)
	w.uint32(n)
	_, err := w.out.Write(w.block)
	return err
}

func (w *Writer) uint32(v uint32) { w.block = binary.LittleEndian.AppendUint32(w.block, v) }

// option appends an option of fewer than 64 KiB.
func (w *Writer) option(code uint16, value string) {
	w.block = binary.LittleEndian.AppendUint16(w.block, code)
	w.block = binary.LittleEndian.AppendUint16(w.block, uint16(len(value)))
	w.block = append(w.block, value...)
	w.pad()
}

// pad fills up to 32 bits.
func (w *Writer) pad() {
	for len(w.block)%4 != 0 {
		w.block = append(w.block, 0)
	}
}

// clip truncates a comment to its limit, between characters.
func clip(s string) string {
	if len(s) <= maxComment {
		return s
	}
	n := maxComment
	for n > maxComment-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Flush writes the buffer. The file is complete after each Flush.
func (w *Writer) Flush() error {
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}
