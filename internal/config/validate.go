package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName is IFNAMSIZ of linux/if.h minus its terminating zero.
	maxName = 15
	// ringAlign is NL_MMAP_MSG_ALIGNMENT of linux/netlink.h, up to 4.5.
	ringAlign = 4
)

// validate checks rules over several values. A mistake is reported at the wrong value, or else at
// the value that conflicts with it.
func (d *decoder) validate(c *Config) {
	d.check(deviceName(c.Datapath.Name), "datapath.name")
	d.check(netnsName(c.Netns), "netns")
	d.ring(&c.Ring)
	d.ports(c)
	d.static(c)
	d.staticMACs(&c.Policy)
	d.check(controlSocket(c.Control.Socket), "control.socket")
	d.check(groupName(c.Control.Group), "control.group")
}

// check reports err at the first of paths that is in the file.
func (d *decoder) check(err error, paths ...string) bool {
	if err == nil {
		return true
	}
	for _, path := range paths {
		if p, ok := d.at[path]; ok {
			d.fail(path, p, "%s: %v", path, err)
			return false
		}
	}
	d.add(0, 0, "%s: %v", paths[0], err)
	return false
}

// ring applies the kernel's rules for a ring in the kernel's order
// (netlink_set_ring of net/netlink/af_netlink.c, 4.4).
func (d *decoder) ring(r *Ring) {
	const block, frame = "ring.block_size", "ring.frame_size"
	page := uint32(os.Getpagesize())
	var err error
	if r.BlockSize%page != 0 {
		err = fmt.Errorf("%s is not a multiple of the page size, %s",
			formatSize(uint64(r.BlockSize)), formatSize(uint64(page)))
	}
	d.check(err, block)
	err = nil
	if r.FrameSize%ringAlign != 0 {
		err = fmt.Errorf("%s is not a multiple of %d bytes", formatSize(uint64(r.FrameSize)), ringAlign)
	}
	d.check(err, frame)
	if d.bad["ring"] {
		return
	}
	if r.FrameSize > r.BlockSize {
		d.check(fmt.Errorf("a frame of %s does not fit in a block of %s (ring.block_size)",
			formatSize(uint64(r.FrameSize)), formatSize(uint64(r.BlockSize))), frame, block)
		return
	}
	if total := uint64(r.BlockSize) * uint64(r.Blocks); total > r.MemoryLimit {
		d.check(fmt.Errorf("one ring of %d blocks (ring.blocks) of %s (ring.block_size) is %s, over the limit of %s for all",
			r.Blocks, formatSize(uint64(r.BlockSize)), formatSize(total), formatSize(r.MemoryLimit)),
			"ring.memory_limit", "ring.blocks", block)
	}
	if d.at["ring.memory_limit"] == nil {
		r.MemoryLimit = min(r.MemoryLimit, ringMemory())
	}
}

// deviceName returns why name cannot be the name of a network device, by the rules of
// dev_valid_name and __dev_alloc_name of net/core/dev.c (6.1).
func deviceName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("%q has %d bytes; a device name has at most %d", abbreviate(name), len(name), maxName)
	case name == "." || name == "..":
		return fmt.Errorf("%q is not a device name", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%q is not UTF-8", name)
	}
	for _, c := range name {
		switch {
		case c == '/' || c == ':':
			return fmt.Errorf("%q contains %c, which is not allowed in device names", name, c)
		case c == '%':
			return fmt.Errorf("%q contains a %%, which the kernel treats as a pattern", name)
		case unicode.IsSpace(c) || unicode.IsControl(c):
			return fmt.Errorf("%q contains white space or a control character", name)
		}
	}
	// The kernel uses Latin-1, in which this byte is white space.
	if i := strings.IndexByte(name, 0xa0); i >= 0 {
		return fmt.Errorf("%q contains byte 0xa0, which the kernel treats as white space", name)
	}
	return nil
}

// netnsName returns why name cannot be the name of a network namespace.
func netnsName(name string) error {
	const maxFile, maxPath = 255, 4095 // NAME_MAX and PATH_MAX-1 of linux/limits.h
	isPath := strings.Contains(name, "/")
	switch {
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%q contains a control character or is not UTF-8", abbreviate(name))
	case isPath && !filepath.IsAbs(name):
		return fmt.Errorf("%q is neither a name nor an absolute path", abbreviate(name))
	case isPath && len(name) > maxPath:
		return fmt.Errorf("a path has at most %d bytes", maxPath)
	case !isPath && len(name) > maxFile:
		return fmt.Errorf("a name has at most %d bytes", maxFile)
	case name == "." || name == "..":
		return fmt.Errorf("%q is not a namespace", name)
	}
	return nil
}

// controlSocket returns why path cannot be the path of the control socket.
func controlSocket(path string) error {
	const maxPath = 107 // sizeof(sockaddr_un.sun_path) of linux/un.h minus its terminating zero
	switch {
	case path == "" || path == ControlAuto || path == ControlOff:
		return nil
	case !filepath.IsAbs(path) || strings.HasSuffix(path, "/"):
		return fmt.Errorf("%q is neither an absolute path of a file nor %s or %s", abbreviate(path), ControlAuto, ControlOff)
	case len(path) > maxPath:
		return fmt.Errorf("a socket's path has at most %d bytes", maxPath)
	case !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl):
		return fmt.Errorf("%q contains a control character or is not UTF-8", abbreviate(path))
	}
	return nil
}

// groupName returns why name cannot be the name of a group.
func groupName(name string) error {
	const maxName = 32 // limit of useradd and systemd-sysusers
	if len(name) > maxName || strings.ContainsFunc(name, func(c rune) bool {
		return unicode.IsSpace(c) || unicode.IsControl(c) || c == ':'
	}) {
		return fmt.Errorf("%q is not a group's name: 1 to %d bytes without white space and colons", abbreviate(name), maxName)
	}
	return nil
}
