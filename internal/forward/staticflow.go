package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// StaticError is a mistake in a list of static flows.
type StaticError struct {
	// Flow is the index of the flow in the list. Earlier is the index of the flow that it
	// overlaps, -1 if it is wrong by itself.
	Flow, Earlier int
	// InActions means that the actions are wrong, not the match.
	InActions bool
	// Column is the position of the mistake in the text, from 1; 0 if unknown.
	Column int
	Err    error
}

func (e *StaticError) Error() string {
	what := "match"
	if e.InActions {
		what = "actions"
	}
	return fmt.Sprintf("static flow %d: %s: %v", e.Flow, what, e.Err)
}

// Unwrap returns Err.
func (e *StaticError) Unwrap() error { return e.Err }

// compiled is a static flow as attributes and packed.
type compiled struct {
	key, mask           odp.Packed
	keyAttrs, maskAttrs []byte
	actions             []byte
}

// compile reads the texts of a flow. Its error is a *StaticError about flow 0.
func compile(f StaticFlow, number func(string) (odp.PortNo, bool)) (*compiled, error) {
	text := odp.Text{PortNumber: number}
	fault := func(inActions bool, err error) error {
		e := &StaticError{Earlier: -1, InActions: inActions, Err: err}
		var syntax *odp.SyntaxError
		if errors.As(err, &syntax) && syntax.Line == 1 {
			e.Column, e.Err = syntax.Column, errors.New(syntax.Msg)
		}
		return e
	}
	c := &compiled{}
	var err error
	if c.keyAttrs, c.maskAttrs, err = text.ParseKey(f.Match); err != nil {
		return nil, fault(false, err)
	}
	if c.actions, err = text.ParseActions(f.Actions); err != nil {
		return nil, fault(true, err)
	}
	if len(c.actions) > odp.MaxActions {
		return nil, fault(true,
			fmt.Errorf("%d bytes of actions, of which flows have at most %d", len(c.actions), odp.MaxActions))
	}
	named := c.keyAttrs
	other, err := c.mask.PackMask(c.maskAttrs)
	if err == nil {
		err = c.key.Pack(c.keyAttrs)
	}
	switch {
	case err != nil:
		return nil, fault(false, err)
	case other != 0:
		return nil, fault(false, fmt.Errorf("static flows do not match on attribute %s", attrName(other)))
	}
	for i := range c.key {
		c.key[i] &= c.mask[i]
	}
	odp.Imply(&c.key, &c.mask, attrsIn(named))
	if err := odp.CheckMatch(&c.key, &c.mask); err != nil {
		return nil, fault(false, err)
	}
	c.encode()
	return c, nil
}

// encode writes the attributes of c's match.
func (c *compiled) encode() {
	var key, mask netlink.Encoder
	c.key.AppendKey(&key, &c.mask)
	c.mask.AppendMask(&mask, &c.key)
	c.keyAttrs, c.maskAttrs = key.Bytes(), mask.Bytes()
}

// perPort divides c, if it matches packets of any port, into flows for one port each. It leaves
// out those that another flow of the list contains.
func (c *compiled) perPort(ports []policy.Port, all []*compiled) (list []*compiled) {
	if c.matchesInPort() {
		return []*compiled{c}
	}
	for _, p := range ports {
		part := *c
		binary.NativeEndian.PutUint32(part.key[:], uint32(p.No))
		binary.NativeEndian.PutUint32(part.mask[:], ^uint32(0))
		if slices.ContainsFunc(all, func(o *compiled) bool { return o != nil && o.matchesInPort() && part.within(o) }) {
			continue
		}
		part.encode()
		list = append(list, &part)
	}
	return list
}

func (c *compiled) matchesInPort() bool { return binary.NativeEndian.Uint32(c.mask[:4]) != 0 }

func attrName(attr uint16) string {
	for name, a := range map[string]uint16{
		"tunnel(...)": odp.KeyAttrTunnel, "nsh(...)": odp.KeyAttrNSH, "mpls(...)": odp.KeyAttrMPLS,
		"ct_tuple4(...)": odp.KeyAttrCTOrigTupleIPv4, "ct_tuple6(...)": odp.KeyAttrCTOrigTupleIPv6,
		"ipv6_exthdrs(...)": odp.KeyAttrIPv6ExtHdrs, "packet_type(...)": odp.KeyAttrPacketType,
	} {
		if a == attr {
			return name
		}
	}
	return strconv.Itoa(int(attr))
}

// attrsIn returns a bit for each attribute of the list, including those after tags.
func attrsIn(list []byte) (bits uint64) {
	it := netlink.NewAttrs(list)
	for it.Next() {
		bits |= 1 << it.Type()
		if it.Type() == odp.KeyAttrEncap {
			bits |= attrsIn(it.Data())
		}
	}
	return bits
}

// inPort returns the in-port of the rule, false if it matches all ports.
func (r *rule) inPort() (odp.PortNo, bool) {
	if binary.NativeEndian.Uint32(r.mask[:4]) == 0 {
		return 0, false
	}
	return odp.PortNo(binary.NativeEndian.Uint32(r.key[:4])), true
}

// CheckStatic checks static flows before the numbers of ports are known, and returns the number
// of flows that lie within another one. Its error is a *StaticError about the first wrong flow:
// its text, missing fields, or an overlap with an earlier flow with different actions. A port
// by name and one by number may be the same.
func CheckStatic(flows []StaticFlow) (covered int, err error) {
	numbers := map[string]odp.PortNo{}
	// Above all numbers that the kernel assigns.
	number := func(name string) (odp.PortNo, bool) {
		no, ok := numbers[name]
		if !ok {
			no = odp.PortNo(odp.MaxPorts + 1 + len(numbers))
			numbers[name] = no
		}
		return no, true
	}
	all := make([]*compiled, 0, len(flows))
	for i, f := range flows {
		c, err := compile(f, number)
		if err != nil {
			var s *StaticError
			if errors.As(err, &s) {
				s.Flow = i
			}
			return 0, err
		}
		for j, earlier := range all {
			if !mayOverlap(c, earlier) {
				continue
			}
			if string(c.actions) != string(earlier.actions) {
				return 0, &StaticError{Flow: i, Earlier: j,
					Err: errors.New("overlaps an earlier flow with other actions; flows in the kernel have no priorities")}
			}
			if !c.within(earlier) && !earlier.within(c) && (c.looksLike(earlier) || earlier.looksLike(c)) {
				return 0, &StaticError{Flow: i, Earlier: j,
					Err: errors.New("overlaps an earlier flow in part, where fields that one of them matches are zero; " +
						"the kernel treats the two as one")}
			}
		}
		all = append(all, c)
	}
	for i := range all {
		if isCovered(all, i) {
			covered++
		}
	}
	return covered, nil
}

// isCovered reports whether another flow of the list covers flow i; of two equal flows the
// first covers the second. Overlapping flows have the same actions; nil is no flow.
func isCovered(all []*compiled, i int) bool {
	for j, c := range all {
		if i != j && c != nil && all[i].within(c) && (j < i || !c.within(all[i])) {
			return true
		}
	}
	return false
}

// looksLike reports whether the kernel would find d when c is installed for a port of d, and
// so refuse c: it looks up the key, in which fields that c does not match are zero.
func (c *compiled) looksLike(d *compiled) bool {
	k := c.key
	if d.matchesInPort() {
		copy(k[:4], d.key[:4]) // they overlap, so the ports are or may be the same
	}
	return k.Matches(&d.key, &d.mask)
}

// within reports whether each packet of c belongs to d.
func (c *compiled) within(d *compiled) bool { return odp.Within(&c.key, &c.mask, &d.key, &d.mask) }

// mayOverlap is odp.Overlap for flows whose ports may be named.
func mayOverlap(a, b *compiled) bool {
	ka, kb := a.key, b.key
	pa, pb := binary.NativeEndian.Uint32(ka[:]), binary.NativeEndian.Uint32(kb[:])
	if pa > odp.MaxPorts != (pb > odp.MaxPorts) {
		copy(ka[:4], kb[:4])
	}
	return odp.Overlap(&ka, &a.mask, &kb, &b.mask)
}
