package genl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"dpifd/internal/netlink"
)

// headerLen is GENL_HDRLEN, linux/genetlink.h.
const headerLen = unix.GENL_HDRLEN

// ErrNotFound means that the kernel has no family of that name: its module is not loaded and
// the kernel could not load it. It matches unix.ENOENT.
var ErrNotFound error = notFoundError{}

type notFoundError struct{}

func (notFoundError) Error() string { return "no such generic netlink family" }
func (notFoundError) Unwrap() error { return unix.ENOENT }

// Family is a generic netlink family as the kernel registered it.
type Family struct {
	Name    string
	ID      uint16            // message type of the family's requests and answers
	Version uint8             // as the kernel says; 0 where it exceeds 8 bits
	Groups  map[string]uint32 // multicast group ids by name
}

// AppendHeader appends a struct genlmsghdr, after Begin and before the
// attributes.
func AppendHeader(e *netlink.Encoder, cmd, version uint8) {
	if b := e.Space(headerLen); b != nil {
		PutHeader(b, cmd, version)
	}
}

// PutHeader writes a struct genlmsghdr to b, which has its 4 bytes.
func PutHeader(b []byte, cmd, version uint8) { b[0], b[1], b[2], b[3] = cmd, version, 0, 0 }

// ParseHeader splits the struct genlmsghdr off the payload of a message. rest aliases payload.
// The error matches netlink.ErrMalformed.
func ParseHeader(payload []byte) (cmd, version uint8, rest []byte, err error) {
	if len(payload) < headerLen {
		return 0, 0, nil, fmt.Errorf("generic netlink header: %w: %d bytes, want %d", netlink.ErrMalformed, len(payload),
			headerLen)
	}
	return payload[0], payload[1], payload[headerLen:], nil
}

// Resolve asks the kernel for a family over c, a socket of NETLINK_GENERIC. The error matches
// ErrNotFound if there is none of that name. The lookup may take as long as loading a module.
func Resolve(c *netlink.Conn, name string) (Family, error) {
	var e netlink.Encoder
	e.Begin(unix.GENL_ID_CTRL, 0)
	AppendHeader(&e, unix.CTRL_CMD_GETFAMILY, 1)
	e.String(unix.CTRL_ATTR_FAMILY_NAME, name)
	e.End()
	reply, err := c.Transact(&e)
	if errors.Is(err, unix.ENOENT) {
		return Family{}, fmt.Errorf("resolve %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Family{}, fmt.Errorf("resolve generic netlink family %q: %w", name, err)
	}
	f, err := parseFamily(reply)
	if err != nil {
		return Family{}, fmt.Errorf("resolve generic netlink family %q: %w", name, err)
	}
	if f.Name != name {
		return Family{}, fmt.Errorf("resolve generic netlink family %q: %w: the answer names %q", name,
			netlink.ErrMalformed, f.Name)
	}
	return f, nil
}

// parseFamily decodes a CTRL_CMD_NEWFAMILY.
func parseFamily(b []byte) (Family, error) {
	_, _, attrs, err := ParseHeader(b)
	if err != nil {
		return Family{}, err
	}
	f := Family{Groups: map[string]uint32{}}
	it := netlink.NewAttrs(attrs)
	for it.Next() {
		switch it.Type() {
		case unix.CTRL_ATTR_FAMILY_NAME:
			f.Name = it.String()
		case unix.CTRL_ATTR_FAMILY_ID:
			f.ID = it.Uint16()
		case unix.CTRL_ATTR_VERSION:
			if v := it.Uint32(); v <= 0xff {
				f.Version = uint8(v)
			}
		case unix.CTRL_ATTR_MCAST_GROUPS:
			if err := parseGroups(it.Nested(), f.Groups); err != nil {
				return Family{}, err
			}
		}
	}
	if err := it.Err(); err != nil {
		return Family{}, err
	}
	// Types below are the control messages of netlink itself.
	if f.ID < unix.NLMSG_MIN_TYPE {
		return Family{}, fmt.Errorf("family id %d: %w", f.ID, netlink.ErrMalformed)
	}
	return f, nil
}

// parseGroups decodes CTRL_ATTR_MCAST_GROUPS, a list of numbered attributes.
func parseGroups(list netlink.Attrs, groups map[string]uint32) error {
	for list.Next() {
		name, id := "", uint32(0)
		it := list.Nested()
		for it.Next() {
			switch it.Type() {
			case unix.CTRL_ATTR_MCAST_GRP_NAME:
				name = it.String()
			case unix.CTRL_ATTR_MCAST_GRP_ID:
				id = it.Uint32()
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
		if name == "" || id == 0 {
			return fmt.Errorf("multicast group %q with id %d: %w", name, id, netlink.ErrMalformed)
		}
		groups[name] = id
	}
	return list.Err()
}
