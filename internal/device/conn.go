package device

import (
	"encoding/binary"
	"fmt"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Conn sends rtnetlink requests.
type Conn struct {
	conn *netlink.Conn
	enc  netlink.Encoder
}

// Dial opens a request socket in the network namespace of the calling thread.
// The caller closes it.
func Dial() (*Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, netlink.Config{})
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	return &Conn{conn: conn}, nil
}

// Close closes the socket. It is idempotent.
func (c *Conn) Close() error { return c.conn.Close() }

// link starts a request about a device in c.enc, up to its struct ifinfomsg. With index 0 the
// caller may add the name. The flags in change are set to the values in flags.
func (c *Conn) link(typ, nlflags uint16, index int, flags, change uint32) {
	c.enc.Clear()
	c.enc.Begin(typ, nlflags)
	c.enc.RawUint32(unix.AF_UNSPEC) // family, padding and type
	c.enc.RawUint32(uint32(index))
	c.enc.RawUint32(flags)
	c.enc.RawUint32(change)
}

// transact sends the request in c.enc. The answer is borrowed until the next.
func (c *Conn) transact() ([]byte, error) {
	c.enc.End()
	return c.conn.Transact(&c.enc)
}

// appendPort appends a port number in network byte order, as tunnels have it.
func appendPort(e *netlink.Encoder, attr uint16, port uint16) {
	e.Attr(attr, binary.BigEndian.AppendUint16(nil, port))
}
