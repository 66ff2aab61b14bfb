package odp

// The attributes inside actions are those of linux/openvswitch.h, Linux 6.12:
// enum ovs_userspace_attr, ovs_sample_attr, ovs_ct_attr, ovs_nat_attr,
// ovs_check_pkt_len_attr, ovs_dec_ttl_attr and ovs_psample_attr.

// actionTable has the attributes of enum ovs_action_attr except output and both kinds of set,
// which have a separate syntax.
var actionTable []member

// It is filled by init because actions contain actions.
func init() {
	actions := actionList{}
	actionTable = []member{
		{typ: ActionAttrUserspace, name: "userspace", style: group, syntax: userspaceSyntax},
		{typ: ActionAttrPushVLAN, name: "push_vlan", style: group, syntax: pushVLANLayout},
		{typ: ActionAttrPopVLAN, name: "pop_vlan", style: lone},
		{typ: ActionAttrSample, name: "sample", style: group, syntax: inAction(
			flatNumber(1, "sample", 4, percentForm, true),
			member{typ: 2, name: "actions", style: group, syntax: actions},
		)},
		{typ: ActionAttrRecirc, name: "recirc", style: group, syntax: number(4, hexadecimal, true)},
		{typ: ActionAttrHash, name: "hash", style: group, syntax: hashSyntax{}, is: hashSyntax{}.shows},
		{typ: ActionAttrPushMPLS, name: "push_mpls", style: group, syntax: pushMPLSLayout, is: pushMPLSLayout.covers},
		{typ: ActionAttrPopMPLS, name: "pop_mpls", style: group, syntax: &layout{size: 2, complete: true,
			fields: []field{{name: "eth_type", size: 2, form: hexPlain}}}},
		{typ: ActionAttrCT, name: "ct", style: bare, syntax: ctSyntax},
		{typ: ActionAttrTrunc, name: "trunc", style: group, syntax: number(4, decimal, true)},
		{typ: ActionAttrPushEth, name: "push_eth", style: group, syntax: &layout{size: 12, complete: true,
			fields: ethernetLayout.fields}},
		{typ: ActionAttrPopEth, name: "pop_eth", style: lone},
		{typ: ActionAttrCTClear, name: "ct_clear", style: lone},
		{typ: ActionAttrPushNSH, name: "push_nsh", style: group, syntax: nshSyntax},
		{typ: ActionAttrPopNSH, name: "pop_nsh", style: group, syntax: nothing{}},
		{typ: ActionAttrMeter, name: "meter", style: group, syntax: number(4, decimal, true)},
		{typ: ActionAttrClone, name: "clone", style: group, syntax: actions},
		{typ: ActionAttrCheckPktLen, name: "check_pkt_len", style: group, syntax: inAction(
			flatNumber(1, "size", 2, decimal, true),
			member{typ: 2, name: "gt", style: group, syntax: actions},
			member{typ: 3, name: "le", style: group, syntax: actions},
		)},
		{typ: ActionAttrAddMPLS, name: "add_mpls", style: group, syntax: addMPLSLayout},
		{typ: ActionAttrDecTTL, name: "dec_ttl", style: group, syntax: inAction(
			member{typ: 1, name: "le_1", style: group, syntax: actions},
		)},
		// A bare "drop" is the empty list.
		{typ: ActionAttrDrop, name: "drop", style: group, syntax: number(4, decimal, true)},
		{typ: ActionAttrPsample, name: "psample", style: group, syntax: inAction(
			flatNumber(1, "group", 4, decimal, true),
			member{typ: 2, syntax: &layout{fields: []field{{name: "cookie", form: bytesForm}}}},
		)},
	}
}

// inAction is the syntax of an action that holds attributes.
func inAction(members ...member) *nested { return &nested{members: members, prefix: "attr"} }

// actionByType returns the action's entry, nil if there is none.
func actionByType(typ uint16) *member {
	for i := range actionTable {
		if actionTable[i].typ == typ {
			return &actionTable[i]
		}
	}
	return nil
}

func actionByName(name string) *member {
	for i := range actionTable {
		if actionTable[i].name == name {
			return &actionTable[i]
		}
	}
	return nil
}

func isActionName(name string) bool { return name == "set" || actionByName(name) != nil }

var (
	pushVLANLayout = &layout{size: 4, complete: true, unset: []byte{0x81, 0x00, 0x10, 0x00},
		fields: append([]field{{name: "tpid", size: 2, form: hex4, implied: 0x8100}}, tciFields(2)...)}
	pushMPLSLayout = &layout{size: 8, complete: true,
		fields: append(lseFields(), field{name: "eth_type", off: 4, size: 2, form: hexPlain})}
	addMPLSLayout = &layout{size: 8, complete: true,
		fields: append(lseFields(), field{name: "eth_type", off: 4, size: 2, form: hexPlain},
			field{name: "tun_flags", off: 6, size: 2, native: true, form: hexadecimal, optional: true})}
	ctSyntax = inAction(
		member{typ: 1, name: "commit", style: lone},
		member{typ: 7, name: "force_commit", style: lone},
		member{typ: 2, syntax: &layout{size: 2, fields: []field{{name: "zone", size: 2, native: true, optional: true}}}},
		member{typ: 3, halves: true, syntax: &layout{size: 4,
			fields: []field{{name: "mark", size: 4, form: hexadecimal, native: true, always: true}}}},
		member{typ: 4, halves: true, syntax: &layout{size: 16,
			fields: []field{{name: "label", size: 16, form: wide, native: true}}}},
		flatString(5, "helper"),
		flatString(9, "timeout"),
		flatNumber(8, "eventmask", 4, hexadecimal, true),
		member{typ: 6, name: "nat", style: bare, syntax: natSyntax{}, is: natSyntax{}.shows},
	)
)

func flatString(typ uint16, name string) member {
	return member{
		typ: typ, syntax: &layout{size: 2, fields: []field{{name: name, form: stringForm}}},
		is: func(b []byte) bool {
			for _, c := range b[:len(b)-1] {
				if !isNameByte(c) {
					return false
				}
			}
			return b[len(b)-1] == 0
		},
	}
}

// nothing is the syntax of an attribute without payload that is written with
// parentheses.
type nothing struct{}

func (nothing) fault(n int) string { return (&layout{}).fault(n) }

func (nothing) append(*writer, []byte, []byte, bool) {}

func (nothing) parse(*parser) (value, mask []byte) { return nil, nil }

// hashSyntax is struct ovs_action_hash: algorithm(basis).
type hashSyntax struct{}

var (
	hashAlgorithm = field{size: 4, native: true}
	hashBasis     = field{off: 4, size: 4, native: true}
	// hashNames are those of enum ovs_hash_alg, Linux 6.12.
	hashNames = []string{"l4", "sym_l4"}
)

func (hashSyntax) fault(n int) string { return (&layout{size: 8}).fault(n) }

func (hashSyntax) shows(b []byte) bool { return hashAlgorithm.get(b) < uint64(len(hashNames)) }

func (hashSyntax) append(w *writer, value, _ []byte, _ bool) {
	w.putf("%s(%d)", hashNames[hashAlgorithm.get(value)], hashBasis.get(value))
}

func (hashSyntax) parse(p *parser) (value, mask []byte) {
	value = make([]byte, 8)
	p.space()
	at := p.pos
	name := p.word()
	for i, known := range hashNames {
		if name == known {
			hashAlgorithm.put(value, uint64(i))
			p.group(func() { hashBasis.put(value, p.number(hashBasis.limit())) })
			return value, nil
		}
	}
	p.pos = at
	p.expected("l4 or sym_l4")
	return value, nil
}
