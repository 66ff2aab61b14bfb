package config

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
)

// Port returns the entry of a port: the one that has its name or else the first whose
// pattern matches, nil if there is none. It belongs to c.
func (c *Config) Port(name string) *Port {
	var matching *Port
	for i := range c.Ports {
		p := &c.Ports[i]
		if p.Name == name {
			return p
		}
		if ok, _ := path.Match(p.Match, name); ok && p.Match != "" && matching == nil {
			matching = p
		}
	}
	return matching
}

// pattern checks an entry that has a pattern.
func (d *decoder) pattern(p *Port, entry string, first map[string]int) {
	at := entry + ".match"
	if !d.check(devicePattern(p.Match), at) {
		return
	}
	if line, dup := first[p.Match]; dup {
		d.check(fmt.Errorf("duplicate pattern %q; the first is on line %d", p.Match, line), at)
		return
	}
	first[p.Match] = d.at[at].Line
	if p.Type.IsTunnel() {
		d.check(fmt.Errorf("is for existing devices and internal ports; a %s port needs a name", p.Type), at)
		return
	}
	for _, k := range []struct {
		set bool
		key string
	}{{len(p.Address) > 0, "address"}, {p.Up, "up"}, {p.MTU != 0, "mtu"}, {p.MAC != [6]byte{}, "mac"}} {
		if k.set {
			d.check(errors.New("is for a port with a name, not for a pattern"), entry+"."+k.key, entry)
		}
	}
}

// devicePattern returns why a pattern cannot match device names.
func devicePattern(match string) error {
	switch _, err := path.Match(match, ""); {
	case err != nil:
		return fmt.Errorf("%q is not a pattern such as tap*, veth? or eth[0-3]", abbreviate(match))
	case !strings.ContainsAny(match, "*?["):
		return fmt.Errorf("%q contains no *, ? or [...]; use name for one device", abbreviate(match))
	case strings.ContainsFunc(match, func(c rune) bool {
		return c == '/' || c == ':' || unicode.IsSpace(c) || unicode.IsControl(c)
	}):
		return fmt.Errorf("%q contains a character that is not allowed in device names", abbreviate(match))
	}
	return nil
}
