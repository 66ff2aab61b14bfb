package device

import (
	"path/filepath"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// namespaces is the directory of named network namespaces (ip-netns(8)).
const namespaces = "/run/netns"

// Namespace returns the path of the network namespace with the given id in the namespace of the
// Conn (ip netns list-id), "" if /run/netns has none.
func (c *Conn) Namespace(id int32) string {
	paths, _ := filepath.Glob(filepath.Join(namespaces, "*")) // fails only for a malformed pattern
	for _, path := range paths {
		if got, ok := c.namespaceID(path); ok && got == id {
			return path
		}
	}
	return ""
}

// namespaceID returns the id of the namespace at path (struct rtgenmsg and NETNSA_* of
// linux/net_namespace.h).
func (c *Conn) namespaceID(path string) (id int32, ok bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	c.enc.Clear()
	c.enc.Begin(unix.RTM_GETNSID, 0)
	c.enc.RawUint32(unix.AF_UNSPEC)
	c.enc.Uint32(unix.NETNSA_FD, uint32(fd))
	b, err := c.transact()
	const genmsgLen = 4 // including padding
	if err != nil || len(b) < genmsgLen {
		return 0, false
	}
	it := netlink.NewAttrs(b[genmsgLen:])
	for it.Next() {
		if it.Type() == unix.NETNSA_NSID {
			id = int32(it.Uint32())
			return id, id != unix.NETNSA_NSID_NOT_ASSIGNED
		}
	}
	return 0, false
}
