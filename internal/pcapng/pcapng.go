// Package pcapng writes packets of a datapath to a file that Wireshark and
// tcpdump read: an interface for each port, and with each packet comments, such
// as what was decided about it.
//
// The format is gopacket's pcapgo.NgWriter's (draft-ietf-opsawg-pcapng). This
// package adds what that leaves to its callers: interfaces made as ports
// appear, and the format's limits.
//
// A Writer belongs to one goroutine. It keeps nothing that it is given.
package pcapng

import (
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// maxComment bounds a comment in bytes: the length of an option is 16 bits, and
// readers need not take blocks of any size.
const maxComment = 16 << 10

// Packet is one frame on its way into a port.
type Packet struct {
	Time time.Time
	Port string // name of the port it came in by
	Data []byte // from its Ethernet header on
	// Length is the frame's size in bytes before it was cut to Data; 0 if it
	// was not.
	Length   int
	Comments []string // UTF-8; cut to 16 KiB each
}

// Writer writes packets to one file, or to a pipe: it never seeks.
type Writer struct {
	ng    *pcapgo.NgWriter
	ports map[string]int // interfaces by the port's name
}

// NewWriter writes the file's header. application names the program that
// captures, and datapath what it captures from; the datapath's local port, of
// the same name, is the first interface.
func NewWriter(w io.Writer, application, datapath string) (*Writer, error) {
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		OS: "Linux", Application: application, Comment: "upcalls of datapath " + datapath,
	}}
	ng, err := pcapgo.NewNgWriterInterface(w, netInterface(datapath), options)
	if err != nil {
		return nil, fmt.Errorf("pcapng header: %w", err)
	}
	return &Writer{ng: ng, ports: map[string]int{datapath: 0}}, nil
}

func netInterface(name string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}
}

// Write appends a packet. It may stay in the Writer's buffer until Flush.
func (w *Writer) Write(p Packet) error {
	id, known := w.ports[p.Port]
	if !known {
		var err error
		if id, err = w.ng.AddInterface(netInterface(p.Port)); err != nil {
			return fmt.Errorf("pcapng interface %s: %w", p.Port, err)
		}
		w.ports[p.Port] = id
	}
	info := gopacket.CaptureInfo{
		Timestamp: p.Time, InterfaceIndex: id,
		CaptureLength: len(p.Data), Length: max(p.Length, len(p.Data)),
	}
	options := pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}}
	for _, c := range p.Comments {
		if c != "" {
			options.Comments = append(options.Comments, clip(c))
		}
	}
	if err := w.ng.WritePacketWithOptions(info, p.Data, options); err != nil {
		return fmt.Errorf("pcapng packet of %s: %w", p.Port, err)
	}
	return nil
}

// clip cuts a comment to its limit, between characters.
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

// Flush writes out what is buffered. The file is whole after each Flush.
func (w *Writer) Flush() error {
	if err := w.ng.Flush(); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}
