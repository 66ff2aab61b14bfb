//go:build lab

package kernel_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

// Templates of flows. Each {n} is replaced by a random number of n bits, {mac}, {ip4} and {ip6} by
// an address; a bar, as in {16|}, allows a random mask after it.
var (
	keyTemplates = []string{
		"in_port({4}),eth()",
		"in_port({4}),eth(src={mac|},dst={mac|})",
		"in_port({4}),eth(src={mac|}),eth_type(0/0xffff)",
		"in_port({4}),skb_priority({32|}),skb_mark({32|}),recirc_id({32}),dp_hash({32|}),eth(dst={mac})",
		"in_port({4}),eth(),eth_type(0x0800),ipv4(src={ip4|},dst={ip4|},tos={8|},ttl={8|},frag=no)",
		"in_port({4}),eth(),eth_type(0x0800),ipv4(proto=6,frag=first),tcp(src={16|},dst={16|}),tcp_flags(+syn-ack)",
		"in_port({4}),eth(),eth_type(0x0800),ipv4(proto=6),tcp(),tcp_flags(syn|cwr)",
		"in_port({4}),eth(),eth_type(0x0800),ipv4(proto=17,frag=later)",
		"in_port({4}),eth(),eth_type(0x0800),ipv4(proto=17),udp(src={16|})",
		"in_port({4}),eth(),eth_type(0x0800),ipv4(proto=132),sctp(dst={16|})",
		"in_port({4}),eth(),eth_type(0x0800),ipv4(proto=1),icmp(type={8|},code={8|})",
		"in_port({4}),eth(),eth_type(0x86dd),ipv6(src={ip6|},dst={ip6|},label={20|},tclass={8|},hlimit={8|},frag=no)",
		"in_port({4}),eth(),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135,code=0),nd(target={ip6|},sll={mac|})",
		"in_port({4}),eth(),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=136,code=0),nd(tll={mac|})",
		"in_port({4}),eth(),eth_type(0x0806),arp(sip={ip4|},tip={ip4|},op={8},sha={mac|},tha={mac|})",
		"in_port({4}),eth(),eth_type(0x8100),vlan(vid={12|},pcp={3|}),encap(eth_type(0x0806),arp(tip={ip4|}))",
		"in_port({4}),eth(),eth_type(0x88a8),vlan(vid={12}),encap(eth_type(0x8100),vlan(pcp={3}),encap(eth_type(0x0800),ipv4(dst={ip4|})))",
		"in_port({4}),eth(),eth_type(0x8847),mpls(label={20|},tc={3|},ttl={8|},bos=1)",
		"in_port({4}),eth(),eth_type(0x894f),nsh(flags=0,ttl=63,mdtype=1,np=3,spi={24|},si=255,c1={32},c2=0x0,c3=0x3,c4=0x4)",
		"in_port({4}),ct_state(+trk-new),ct_zone({16|}),ct_mark({32|}),ct_label({64|}),eth(),eth_type(0x0800),ipv4()",
		"in_port({4}),ct_state({8|}),eth(),eth_type(0x0800),ipv4(),ct_tuple4(src={ip4|},dst={ip4|},proto=17,tp_src={16|})",
		"in_port({4}),ct_state(0x21/0x21),eth(),eth_type(0x86dd),ipv6(),ct_tuple6(src={ip6|},proto=6,tp_dst={16|})",
		"tunnel(tun_id={64|},src={ip4|},dst={ip4|},tos={8|},ttl={8|},tp_dst={16|},flags(-df+csum+key)),in_port({4}),eth()",
		"tunnel(tun_id={24},ipv6_src={ip6|},ipv6_dst={ip6|},ttl={8},flags(df|key)),in_port({4}),eth()",
		"tunnel(tun_id={24},dst={ip4},ttl=64,vxlan(gbp(id={16|},flags={8|})),flags(key)),in_port({4}),eth()",
		"tunnel(tun_id={24},dst={ip4},ttl=64,geneve({class={16|},type={8|},len=4,{32|}}{class={16},type=0x80,len=8,{60|}}),flags(key)),in_port({4}),eth()",
		"tunnel(tun_id={10},dst={ip4},ttl=64,erspan(ver=1,idx={20|}),flags(key)),in_port({4}),eth()",
		"tunnel(tun_id={10},dst={ip4},ttl=64,erspan(ver=2,dir={1},hwid={4}),flags(key)),in_port({4}),eth()",
	}
	actionTemplates = []string{
		"drop", "{4},{4},{4}",
		"push_vlan(vid={12},pcp={3}),pop_vlan,{4}",
		"push_vlan(tpid=0x88a8,vid={12},pcp={3})",
		"userspace(pid={32},userdata({hex}{hex}),actions)",
		"userspace(pid={32},sFlow(vid={12},pcp={3},output={32}),actions,tunnel_out_port={4})",
		"userspace(pid={32},sFlow(vid=0,pcp=0,output={32}))",
		"userspace(pid={32},slow_path(cfm|lacp|match))",
		"userspace(pid={32},flow_sample(probability={16},collector_set_id={32},obs_domain_id={32},obs_point_id={32},output_port={16},egress))",
		"userspace(pid={32},ipfix(output_port={16}),tunnel_out_port={4})",
		"userspace(pid={32},controller(reason={16},dont_send={1},continuation={1},recirc_id={32},rule_cookie={64},controller_id={16},max_len={16}))",
		"set(eth(src={mac|},dst={mac}))",
		"set(skb_priority({32|})),set(skb_mark({32|}))",
		"set(tunnel(tun_id={64},src={ip4},dst={ip4},tos={8},ttl={8},flags(df|csum|key)))",
		"set(tunnel(tun_id={24},ipv6_dst={ip6},ttl=64,tp_dst={16},vxlan(gbp(id={16},flags={8})),flags(key)))",
		"set(tunnel(tun_id={24},dst={ip4},ttl=64,geneve({class={16},type={8},len=4,{32}}),flags(key)))",
		"set(tunnel(tun_id=0x1,dst={ip4},ttl=64,erspan(ver=2,dir=1,hwid={4}),flags(df|key)))",
		"sample(sample=9.7%,actions({4},{4})),sample(sample=100.0%,actions(pop_vlan))",
		"recirc({32})", "clone(push_vlan(vid=12,pcp=0),clone({4}),{4})",
		"trunc({16}),{4}", "ct_clear,{4}",
		"check_pkt_len(size={16},gt({4}),le(drop))",
		"hash(l4({32})),recirc({8})",
		"ct(commit,zone={16},mark=0x{hex}/0x{hex},label={64}/{64})",
		"ct(force_commit,nat(src={ip4}:{16},random))", "ct(nat)", "ct",
		"push_mpls(label={20},tc={3},ttl={8},bos=0,eth_type=0x8848),{4},pop_mpls(eth_type=0x800)",
		"pop_eth,{4}", "push_eth(src={mac},dst={mac}),{4}",
	}
	// textTemplates need a key that is not among the above, or are unknown to the kernel.
	textTemplates = []string{
		"set(ipv4(src={ip4|},dst={ip4|},tos={8|},ttl={8}))", "set(ipv6(src={ip6},label={20|},hlimit={8}))",
		"set(tcp(src={16|})),set(udp(dst={16})),set(sctp(src={16},dst={16|})),set(icmp(type=1,code=2)),set(icmpv6(code={8}))",
		"set(arp(op=2,sha={mac},tip={ip4|})),set(nd(target={ip6|}))", "set(mpls(label={20|},tc={3}))",
		"set(in_port({4})),set(eth_type({16})),set(ct_mark({32|}))", "set(vlan(vid={12|},pcp={3}))",
		"ct(commit,helper=tftp,timeout=short),ct(commit,nat(dst=10.0.0.128-10.0.0.254,hash))",
		"ct(commit,nat(src=[fe80::20c:29ff:fe88:1]-[fe80::20c:29ff:fe88:a18b]:255-4096,persistent))",
		"ct(commit,nat(src=fe80::1-fe80::2,random))", "meter({32}),pop_nsh()",
		"push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x17,si={8},c1=0x{hex},c2=0x0,c3=0x{hex},c4=0x1)",
		"add_mpls(label={20},tc={3},ttl={8},bos=1,eth_type=0x8847)",
	}
	placeholder = regexp.MustCompile(`\{(\d+|mac|ip4|ip6|hex)(\|?)\}`)
)

// fill replaces the placeholders of a template by random values.
func fill(r *rand.Rand, template string) string {
	return placeholder.ReplaceAllStringFunc(template, func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		v := r.Uint64()
		if m[2] == "" || r.IntN(2) == 0 {
			return value(m[1], v)
		}
		mask := r.Uint64()
		return value(m[1], v&mask) + "/" + value(m[1], mask)
	})
}

// value formats random bits for a placeholder. ovs-dpctl parses many numbers in decimal only.
func value(kind string, v uint64) string {
	switch kind {
	case "mac":
		return odp.MACFromUint64(v &^ (1 << 40)).String()
	case "ip4":
		return fmt.Sprintf("%d.%d.%d.%d", v&0xff, v>>8&0xff, v>>16&0xff, v>>24&0xff)
	case "ip6":
		return fmt.Sprintf("%x:%x::%x", v&0xffff|0x1000, v>>16&0xffff|0x1000, v>>32&0xffff|1)
	case "hex":
		return fmt.Sprintf("%08x", v&0xffffffff)
	}
	bits, err := strconv.Atoi(kind)
	if err != nil {
		panic(err)
	}
	if v >>= 64 - bits; bits > 32 {
		return fmt.Sprintf("%#x", v)
	}
	return fmt.Sprint(v)
}

var (
	// exthdrs matches attributes that ovs-dpctl 3.1 cannot name, and an empty mask.
	exthdrs = regexp.MustCompile(`,(key32|ipv6_exthdrs)\([^)]*\)|,eth_type\(0/0x0000\)`)
	// notRead matches what ovs-dpctl 3.1 prints but cannot parse.
	notRead = regexp.MustCompile(`\bnsh\(|\(0/0xffff\)|hash\(|_eth\b|(push|pop)_mpls\(`)
)

// TestODPText sends random flows to the kernel through this project's text codec and through
// ovs-dpctl: the results must be the same, and so must both texts of the flows that the kernel
// dumps.
func TestODPText(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 0)
	ours, theirs := newDatapath(t, n.sw, n.dpName+"a"), newDatapath(t, n.sw, n.dpName+"b")
	r := rand.New(rand.NewPCG(2026, 6))
	accepted, tried := 0, 0
	put := func(dp *dpif.Datapath, key, mask, actions []byte) error {
		return dp.PutFlow(&dpif.Flow{Key: key, Mask: mask, Actions: actions}, dpif.Create)
	}
	each := func(keyTemplate, actionTemplate string) {
		key, actions := fill(r, keyTemplate), fill(r, actionTemplate)
		k, m, err := odp.Text{}.ParseKey(key)
		if err != nil {
			t.Errorf("key %s: %v", key, err)
			return
		}
		a, err := odp.Text{}.ParseActions(actions)
		if err != nil {
			t.Errorf("actions %s: %v", actions, err)
			return
		}
		tried++
		ourErr := put(ours, k, m, a)
		if notRead.MatchString(key + actions) {
			want := strings.ReplaceAll(fmt.Sprint(ourErr), n.dpName+"a", n.dpName+"b")
			if err := put(theirs, k, m, a); fmt.Sprint(err) != want {
				t.Errorf("flow %s %s: %v, then %v", key, actions, ourErr, err)
			}
			if ourErr == nil {
				accepted++
			}
			return
		}
		_, theirErr := n.sw.Try("ovs-dpctl", "--verbose=off", "add-flow", n.dpName+"b", key,
			strings.TrimPrefix(actions, "drop"))
		if (ourErr == nil) != (theirErr == nil) {
			t.Errorf("flow %s %s: our error is %v, ovs-dpctl's %v", key, actions, ourErr, theirErr)
		}
		if ourErr == nil {
			accepted++
		}
	}
	for range 3 {
		for i, key := range keyTemplates {
			each(key, actionTemplates[i%2])
		}
	}
	for range 2 {
		for _, actions := range actionTemplates {
			each("in_port({4}),eth(src={mac},dst={mac}),eth_type(0x0800),ipv4(src={ip4})", actions)
		}
	}
	t.Logf("the kernel accepted %d of %d flows", accepted, tried)
	least := tried * 3 / 4
	if !lab.Strict() {
		least = tried / 2 // older kernels know fewer attributes
	}
	if accepted < least {
		t.Errorf("the kernel accepted %d of %d flows, too few to compare", accepted, tried)
	}

	if diff := cmp.Diff(rawFlows(t, theirs), rawFlows(t, ours)); diff != "" {
		t.Errorf("flows of the kernel (-by ovs-dpctl +by our text):\n%s", diff)
	}
	for _, verbose := range []bool{false, true} {
		argv := []string{"--verbose=off", "dump-flows", n.dpName + "a"}
		text := odp.Text{Verbose: verbose}
		if verbose { // with the names of ports, of which there is one
			argv = slices.Insert(argv, 2, "-m")
			text.PortName = func(no odp.PortNo) string { return map[odp.PortNo]string{0: n.dpName + "a"}[no] }
			text.PortNumber = func(name string) (odp.PortNo, bool) { return 0, name == n.dpName+"a" }
		}
		dump := strings.Split(strings.TrimSpace(n.sw.DPCtl(t, argv...)), "\n")
		for i, line := range dump {
			key, rest, _ := strings.Cut(line, ", packets:")
			_, actions, _ := strings.Cut(rest, "actions:")
			dump[i] = exthdrs.ReplaceAllString(key, "") + " " + actions
			// Parse what ovs-dpctl prints and print it again: the text must be the same.
			k, m, err := text.ParseKey(key)
			again := exthdrs.ReplaceAllString(string(text.AppendKey(nil, k, m)), "")
			if want := exthdrs.ReplaceAllString(key, ""); err != nil || again != want {
				t.Errorf("error %v\novs-dpctl %s\nread as  %s", err, want, again)
			}
		}
		slices.Sort(dump)
		var got []string
		flows(t, ours, func(f *dpif.Flow) {
			key := exthdrs.ReplaceAllString(string(text.AppendKey(nil, f.Key, f.Mask)), "")
			got = append(got, key+" "+string(text.AppendActions(nil, f.Actions)))
		})
		slices.Sort(got)
		if diff := cmp.Diff(dump, got); diff != "" {
			t.Errorf("verbose %v: the same flows (-ovs-dpctl +our text):\n%s", verbose, diff)
		}
	}
}

func flows(t *testing.T, dp *dpif.Datapath, each func(*dpif.Flow)) {
	t.Helper()
	if err := dp.Flows(false, func() {}, func(f *dpif.Flow) error { each(f); return nil }); err != nil {
		t.Fatal(err)
	}
}

// rawFlows returns the raw key and mask of each flow that the kernel dumps, and the text of its
// actions, whose attributes may be in another order. The map is keyed by our text of the flow's
// key.
func rawFlows(t *testing.T, dp *dpif.Datapath) map[string]string {
	t.Helper()
	all := map[string]string{}
	flows(t, dp, func(f *dpif.Flow) {
		text := string(odp.Text{}.AppendKey(nil, f.Key, f.Mask))
		key := hex.EncodeToString(f.Key) + " " + hex.EncodeToString(f.Mask)
		if strings.Contains(text, "erspan(") {
			key = text // ovs-dpctl matches bits that neither text shows
		}
		all[text] = key + " " + string(odp.Text{}.AppendActions(nil, f.Actions))
	})
	return all
}

// TestODPActionText compares parsing and printing of actions with ovs-dpctl, without the kernel.
func TestODPActionText(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 0)
	r := rand.New(rand.NewPCG(7, 2026))
	want := map[string]bool{}
	for range 3 {
		for _, template := range slices.Concat(actionTemplates[1:], textTemplates) {
			if !notRead.MatchString(template) {
				want[fill(r, template)] = true
			}
		}
	}
	// ovs-dpctl prints a line for each text that it can parse, and stops at the first that it
	// cannot.
	for texts := slices.Sorted(maps.Keys(want)); len(texts) > 0; {
		out, err := n.sw.Try("ovs-dpctl", append([]string{"--verbose=off", "parse-actions"}, texts...)...)
		read := slices.Collect(strings.Lines(out))
		if err != nil {
			read = slices.DeleteFunc(read, func(line string) bool { return strings.HasPrefix(line, "ovs-dpctl: ") })
		}
		if len(read) > len(texts) || err == nil && len(read) < len(texts) {
			t.Fatalf("ovs-dpctl wrote %d lines for %d texts:\n%s", len(read), len(texts), out)
		}
		for i, line := range read {
			actions, err := odp.Text{}.ParseActions(texts[i])
			if got := string(odp.Text{}.AppendActions(nil, actions)); err != nil || got != strings.TrimSpace(line) {
				t.Errorf("text      %s\nour text  %s, error %v\novs-dpctl %s", texts[i], got, err, line)
			}
		}
		if err == nil {
			break
		}
		t.Errorf("ovs-dpctl cannot parse %s: %v", texts[len(read)], err)
		texts = texts[len(read)+1:]
	}
}
