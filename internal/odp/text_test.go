package odp

import (
	"errors"
	"strings"
	"testing"
)

// ports maps port numbers to names in tests.
var ports = Text{
	PortName: func(no PortNo) string {
		return map[PortNo]string{7: "veth-7", 8: "0 \"x\\y", 9: "drop"}[no]
	},
	PortNumber: func(name string) (PortNo, bool) {
		no, ok := map[string]PortNo{"veth-7": 7, "0 \"x\\y": 8, "drop": 9}[name]
		return no, ok
	},
}

// syntaxTest is a text and how it is printed after parsing, "" if unchanged.
type syntaxTest struct{ in, out string }

var keyTests = []syntaxTest{
	{"in_port(1),eth(src=00:01:02:03:04:05,dst=10:11:12:13:14:15)", ""},
	{"in_port(veth-7),eth()", ""},
	{`in_port("0 \"x\\y"),eth()`, ""},
	{"in_port(0x10/0xff00),eth(src=1:2:3:4:5:6)", "in_port(16/0xff00),eth(src=01:02:03:04:05:06)"},
	{" in_port( 2 ) ,\n eth( src = 0:0:0:0:0:1 )\t", "in_port(2),eth(src=00:00:00:00:00:01)"},
	{"recirc_id(0x1),dp_hash(0x2/0xf),skb_priority(0/0xffff),skb_mark(0x1234/0xfff0)", ""},
	{"eth_type(0x1234/0xfff0)", ""},
	{"in_port(1),eth(),eth_type(0/0xffff)", ""},
	{"in_port(1),eth_type(0/0)", "in_port(1)"},
	{"eth_type(0x800),ipv4(src=35.8.2.41/255.255.255.0,dst=172.16.0.20,proto=5/0xf0,tos=0x80/0xf0,ttl=128,frag=no)",
		"eth_type(0x0800),ipv4(src=35.8.2.41/255.255.255.0,dst=172.16.0.20,proto=5/0xf0,tos=0x80/0xf0,ttl=128,frag=no)"},
	{"ipv4(frag=first)", ""},
	{"ipv4(frag=later,tos=0)", "ipv4(tos=0,frag=later)"},
	{"ipv4(frag=1/3)", "ipv4(frag=first/0x3)"},
	{"eth_type(0x86dd),ipv6(src=::1/::ff,dst=fe80::1:2,label=0x12/0xff,proto=10/0xf0,tclass=0x70/0xf0,hlimit=128/0xf0,frag=no)", ""},
	{"ipv6(src=::ffff:1.2.3.4),ipv6_exthdrs(+frag-router)", ""},
	{"ipv6_exthdrs(nonext|0x800)", ""},
	{"tcp(src=80/0xff00,dst=8080),tcp_flags(+syn-ack)", ""},
	{"tcp_flags(syn|ack|[200])", ""},
	{"tcp_flags(0x12)", "tcp_flags(syn|ack)"},
	{"tcp_flags(0)", ""},
	{"udp(dst=0/0x1),sctp(src=65535),icmp(type=8,code=0),icmpv6(type=135)", ""},
	{"arp(sip=1.2.3.4/255.255.255.250,tip=5.6.7.8,op=1/0xf0,sha=00:0f:10:11:12:13/ff:ff:ff:ff:ff:00,tha=00:14:15:16:17:18)", ""},
	{"nd(target=::3/::250,sll=00:05:06:07:08:09,tll=00:0a:0b:0c:0d:0e/ff:00:00:00:00:00)", ""},
	{"eth_type(0x8100),vlan(vid=99,pcp=7),encap(eth_type(0x0800),ipv4(proto=6),tcp(src=80))", ""},
	{"eth_type(0x88a8),vlan(vid=5/0xff0,pcp=0/0x3),encap(eth_type(0x8100),vlan(vid=6),encap(eth_type(0x0806),arp(op=2)))", ""},
	{"vlan(cfi=0),encap()", ""},
	{"vlan(vid=1,cfi=0/0)", ""},
	{"mpls(label=100,tc=7,ttl=64,bos=1)", ""},
	{"mpls(label=100,tc=7,ttl=64,bos=0,label=1048575,tc=0,ttl=0,bos=1)", ""},
	{"mpls(label=100/0xff,tc=3/7,ttl=64/0xff,bos=1/1)", ""},
	{"mpls(label=1/1,bos=1)", "mpls(label=1/0x1,tc=0/0,ttl=0/0x0,bos=1/1)"},
	{"ct_state(-new+trk),ct_zone(0x5),ct_mark(0x10/0xf0),ct_label(0x1/0x30000000000000000000000000000000)", ""},
	{"ct_state(new|est|trk|snat)", ""},
	{"ct_state(0x21/0x3f)", "ct_state(+new-est-rel-rpl-inv+trk)"},
	{"ct_label(0x123456789abcdef0fedcba9876543210)", ""},
	{"ct_label(17)", "ct_label(0x11)"},
	{"ct_tuple4(src=10.10.10.10,dst=20.20.20.20/255.0.0.0,proto=17,tp_src=1,tp_dst=2/0xff)", ""},
	{"ct_tuple6(src=fc00::1,proto=6,tp_src=1,dst_port=2)", "ct_tuple6(src=fc00::1,proto=6,src_port=1,dst_port=2)"},
	{"nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x1234/0x0000ff00,si=255,c1=0x1,c2=0x0/0x0000000f,c4=0x4)", ""},
	{"nsh(ttl=3,spi=1)", "nsh(ttl=3,spi=0x1)"},
	{"tunnel(tun_id=0xfedcba9876543210,src=10.0.0.1,dst=10.0.0.2/255.255.0.0,tos=0x8,ttl=128,tp_src=1,tp_dst=4789,flags(df|csum|key))", ""},
	{"tunnel(tun_id=0x7/0xff,ttl=64/0,flags(-df+csum+key))", "tunnel(tun_id=0x7/0xff,flags(-df+csum+key))"},
	{"tunnel(ipv6_src=fc00::1,ipv6_dst=fc00::2/ffff::,ttl=1,flags(0))", "tunnel(ipv6_src=fc00::1,ipv6_dst=fc00::2/ffff::,ttl=1,flags(-oam-df-csum))"},
	{"tunnel(flags(oam),dst=1.2.3.4)", "tunnel(dst=1.2.3.4,flags(+oam-df-csum))"},
	{"tunnel(vxlan(gbp(id=10/0xff,flags=0xb)))", ""},
	{"tunnel(geneve({class=0,type=0,len=4,0xa/0xff}{class=0xffff,type=0x1,len=0}{class=0x1/0xff,type=0x80,len=8,0x1}))", ""},
	{"tunnel(erspan(ver=1/0,idx=0x7/0xf)),skb_mark(0)", ""},
	{"tunnel(erspan(ver=1,idx=0x7/0xf))", ""},
	{"tunnel(erspan(ver=2,dir=1,hwid=0x7),flags(df|key))", "tunnel(erspan(ver=2,dir=1/0x1,hwid=0x7/0xf),flags(df|key))"},
	{"tunnel(key16(),key20(01 02/f0 00))", ""},
	{"packet_type(ns=1,id=0x800)", ""},
	{"key31(0a0b0c)", "key31(0a 0b 0c)"},
	{"key40(01 02 03/ff 00 ff),key99()", ""},
	{"key5(/ffff)", "key5(/ff ff)"},
}

var actionTests = []syntaxTest{
	{"drop", ""},
	{"1,2,veth-7", ""},
	{"0x10 2\n\t3", "16,2,3"},
	{`"drop",1`, ""},
	{"drop(3)", ""},
	{"userspace(pid=6633)", ""},
	{"userspace(pid=6633,sFlow(vid=9,pcp=7,output=10),actions)", ""},
	{"userspace(pid=6633,sFlow(vid=0,pcp=0,output=10),actions,tunnel_out_port=veth-7)", ""},
	{"userspace(pid=010,slow_path(0))", "userspace(pid=8,slow_path(0))"},
	{"userspace(pid=9765,slow_path(cfm|0x80),tunnel_out_port=10)", "userspace(pid=9765,slow_path(cfm,0x80),tunnel_out_port=10)"},
	{"userspace(pid=1234567,userdata(01 02 03),actions)", "userspace(pid=1234567,userdata(010203),actions)"},
	{"userspace(pid=1,userdata())", ""},
	{"userspace(pid=6633,flow_sample(probability=123,collector_set_id=1234,obs_domain_id=2345,obs_point_id=3456,output_port=10))", ""},
	{"userspace(pid=6633,flow_sample(probability=123,collector_set_id=1234,obs_domain_id=2345,obs_point_id=3456,output_port=10,egress),tunnel_out_port=10)", ""},
	{"userspace(pid=6633,ipfix(output_port=10))", ""},
	{"userspace(pid=6633,controller(reason=1,dont_send=0,continuation=1,recirc_id=4444,rule_cookie=0x5555,controller_id=0,max_len=65535))", ""},
	{"set(in_port(2)),set(skb_priority(0x5/0x7)),set(eth_type(0x1234)),set(ct_mark(0x1))", ""},
	{"set(skb_priority(0/0)),set(eth())", ""},
	{"set(eth(src=00:01:02:03:04:05,dst=10:11:12:13:14:15))", ""},
	{"set(eth(dst=10:11:12:13:14:15/ff:ff:ff:00:00:00))", "set(eth(dst=10:11:12:00:00:00/ff:ff:ff:00:00:00))"},
	{"set(ipv4(src=35.8.2.41,dst=172.16.0.20,proto=5,tos=0x80,ttl=128,frag=no))", ""},
	{"set(ipv4(tos=0x80/0xfc)),set(ipv4(ttl=63))", ""},
	{"set(ipv6(label=0x5,tclass=0x70/0x70))", ""},
	{"set(vlan(vid=3,pcp=5)),set(vlan(vid=5/0x5))", "set(vlan(vid=3,pcp=5)),set(vlan(vid=5/0x5))"},
	{"set(tcp(src=80/0xff00)),set(udp(dst=6633)),set(sctp(src=82,dst=6633)),set(icmp(type=1,code=2))", "set(tcp(src=0/0xff00)),set(udp(dst=6633)),set(sctp(src=82,dst=6633)),set(icmp(type=1,code=2))"},
	{"set(nd(target=::1)),set(arp(op=2)),set(icmpv6(code=0)),set(mpls(label=1,tc=2,ttl=3,bos=1))", ""},
	{"set(nsh(ttl=62)),set(nsh(flags=0,ttl=1,mdtype=1,np=3,spi=0x1,si=2,c1=0x1,c2=0x2,c3=0x3,c4=0x4))", ""},
	{"set(key33(0a 0b)),set(key33(0a 0b/ff 0f))", ""},
	{"set(tunnel(tun_id=0xabcdef1234567890,src=1.1.1.1,dst=2.2.2.2,ttl=64,geneve({class=0,type=0,len=4,0xa}),flags(df|csum|key)))", ""},
	{"set(tunnel(dst=1.1.1.1,flags(key)))", "set(tunnel(tun_id=0,dst=1.1.1.1,flags(key)))"},
	{"set(tunnel(tun_id=0x1,dst=1.1.1.1,ttl=64,vxlan(gbp(id=1,flags=0x2)),erspan(ver=2,dir=1,hwid=0x1),flags(0)))",
		"set(tunnel(tun_id=0x1,dst=1.1.1.1,ttl=64,vxlan(gbp(id=1,flags=0x2)),erspan(ver=2,dir=1,hwid=0x1),flags(key)))"},
	{"push_vlan(vid=12,pcp=0),push_vlan(tpid=0x8100,vid=13,pcp=5,cfi=0),pop_vlan", "push_vlan(vid=12,pcp=0),push_vlan(vid=13,pcp=5,cfi=0),pop_vlan"},
	{"push_vlan(tpid=0x88a8,vid=13,pcp=5)", ""},
	{"sample(sample=9.7%,actions(1,2,3,push_vlan(vid=1,pcp=2)))", ""},
	{"sample(sample=0.0001%,actions(drop)),sample(sample=100%,actions())", "sample(sample=0.0001%,actions(drop)),sample(sample=100.0%,actions(drop))"},
	{"clone(clone(push_vlan(vid=12,pcp=0),2),1)", ""},
	{"recirc(0),recirc(0x1f),hash(l4(0)),hash(sym_l4(4294967295))", ""},
	{"ct,ct(),ct(zone=0),ct_clear", "ct,ct,ct,ct_clear"},
	{"ct(commit,zone=5,mark=0xa0a0a0a0/0xfefefefe,label=0x1234567890abcdef1234567890abcdef/0xf1f2f3f4f5f6f7f8f9f0fafbfcfdfeff,helper=ftp,timeout=t-1)", ""},
	{"ct(nat,force_commit,mark=1,label=1)", "ct(force_commit,mark=0x1/0xffffffff,label=0x1,nat)"},
	{"ct(commit,eventmask=0x7f,nat(src))", ""},
	{"ct(commit,nat(src=10.0.0.240:32768-65535,random))", ""},
	{"ct(commit,nat(dst=10.0.0.128-10.0.0.254,persistent,hash))", ""},
	{"ct(commit,nat(src=fe80::20c:29ff:fe88:1-fe80::20c:29ff:fe88:a18b,random))", ""},
	{"ct(commit,nat(src=[fe80::1]-[fe80::2]:255-4096,random))", ""},
	{"ct(commit,nat(src=10.0.0.1:7))", ""},
	{"meter(3),trunc(100)", ""},
	{"check_pkt_len(size=200,gt(4),le(check_pkt_len(size=100,gt(5),le(drop))))", ""},
	{"dec_ttl(le_1(userspace(pid=1))),dec_ttl(le_1(drop))", ""},
	{"push_mpls(label=1,tc=2,ttl=3,bos=1,eth_type=0x8847),pop_mpls(eth_type=0x800)", ""},
	{"add_mpls(label=5,tc=1,ttl=3,bos=1,eth_type=0x8847),add_mpls(label=5,tc=1,ttl=3,bos=1,eth_type=0x8848,tun_flags=0x1)", ""},
	{"push_eth(src=00:01:02:03:04:05,dst=00:01:02:03:04:06),pop_eth", ""},
	{"push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x1234,si=255,c1=0x0,c2=0x2,c3=0x3,c4=0x4),pop_nsh()", ""},
	{"push_nsh(flags=1,ttl=63,mdtype=2,np=3,spi=0x0,si=255,md2=0x00010204aabbccdd)", ""},
	{"psample(group=4,cookie=0x0a0b),psample(group=5)", ""},
	{"action99(01 02),action3()", "action99(01 02),action3(no attribute to set: )"},
}

func keyAgain(t Text, text string) (string, error) {
	key, mask, err := t.ParseKey(text)
	return string(t.AppendKey(nil, key, mask)), err
}

func actionsAgain(t Text, text string) (string, error) {
	actions, err := t.ParseActions(text)
	return string(t.AppendActions(nil, actions)), err
}

func TestSyntax(t *testing.T) {
	for name, table := range map[string]struct {
		again func(Text, string) (string, error)
		tests []syntaxTest
	}{"key": {keyAgain, keyTests}, "actions": {actionsAgain, actionTests}} {
		for _, tt := range table.tests {
			t.Run(name+"/"+tt.in, func(t *testing.T) {
				want := tt.out
				if want == "" {
					want = tt.in
				}
				got, err := table.again(ports, tt.in)
				if err != nil || got != want {
					t.Errorf("got  %s, error %v\nwant %s", got, err, want)
				}
			})
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	key, actions := keyAgain, actionsAgain
	tests := []struct {
		again func(Text, string) (string, error)
		in    string
		want  string
	}{
		{key, "in_port(1", `1:10: expected ")", found the end`},
		{key, "in_port(1),port(2)", `1:12: expected a key attribute such as in_port(1), found "port"`},
		{key, "in_port(veth-9)", `1:9: no port is named "veth-9"`},
		{key, "in_port(1)eth()", `1:11: expected "," or ")", found "eth"`},
		{key, "in_port(1),\n eth(src=00:01:02)", `2:10: expected an Ethernet address, found "00"`},
		{key, "in_port(1),in_port(2)", "1:12: in_port, attribute 3, is given twice"},
		{key, "key3(01),in_port(2)", "1:10: in_port, attribute 3, is given twice"},
		{key, "tunnel(tun_id=1,key0(01))", "1:17: key0, attribute 0, is given twice"},
		{key, "tunnel(flags(df),flags(df))", "1:18: flags, attribute 7, is given twice"},
		{key, "in_port(4294967296)", "1:9: 4294967296 is above 4294967295"},
		{key, "in_port(99999999999999999999)", "1:9: 99999999999999999999 is above 4294967295"},
		{key, "in_port(1))", `1:11: expected the end, found ")"`},
		{key, "ipv4(src=10.0.0.0/8)", `1:19: expected an IPv4 address, found "8"`},
		{key, "ipv4(src=10.0.0.256)", `1:10: expected an IPv4 address, found "10.0.0.256"`},
		{key, "ipv4(sip=1.2.3.4)", `1:6: expected one of src, dst, proto, tos, ttl, frag, found "sip"`},
		{key, "ipv4(ttl=3,ttl=4)", "1:15: ttl is given twice"},
		{key, "ipv4(ttl=256)", "1:10: 256 is above 255"},
		{key, "ipv4(ttl=09)", `1:10: expected a number, found "09"`},
		{key, "ipv4(frag=some)", `1:11: expected no, first, later, found "some"`},
		{key, "ipv6(src=1.2.3.4)", `1:10: expected an IPv6 address, found "1.2.3.4"`},
		{key, "vlan(vid=4096)", "1:10: 4096 is above 4095"},
		{key, "mpls(label=1048576)", "1:12: 1048576 is above 1048575"},
		{key, "ct_state(+new+old)", `1:15: expected one of new, est, rel, rpl, inv, trk, snat, dnat, found "old"`},
		{key, "ct_label(0x123456789012345678901234567890123)", "1:10: more than 32 hexadecimal digits"},
		{key, "tunnel(vni=3)", `1:8: expected one of tun_id, src, dst, ipv6_src, ipv6_dst, tos, ttl, tp_src, tp_dst, vxlan, geneve, erspan, flags, found "vni"`},
		{key, "tunnel(geneve({class=1,len=5}))", "1:28: 5 is not a multiple of 4"},
		{key, "tunnel(geneve({class=1,len=0,0x1}))", "1:30: an option of len=0 has no data"},
		{key, "tunnel(erspan(ver=3))", "1:19: 3 is above 2"},
		{key, "tunnel(erspan(idx=3))", `1:15: expected ver=1 or ver=2, found "idx"`},
		{key, "key31(0a0)", "1:7: an odd number of hexadecimal digits"},
		{key, "key31(0a/ff00)", "1:9: the mask has 2 bytes, the value 1"},
		{key, "key31(0g)", "1:7: an odd number of hexadecimal digits"},
		{key, strings.Repeat("encap(", 65), "1:390: more than 64 parentheses inside each other"},
		{actions, "", "1:1: expected actions, or drop for none"},
		{actions, "1,drop", "1:3: drop stands alone"},
		{actions, "drop,1", "1:6: drop stands alone"},
		{actions, "1,veth-9", `1:3: no port is named "veth-9"`},
		{actions, "1,output(2)", `1:3: "output" is not an action`},
		{actions, "1/0xff", `1:2: expected "," or ")", found "/"`},
		{actions, "push_vlan(vid=5)", `1:16: expected pcp=, found ")"`},
		{actions, "push_vlan(vid=5/0xf,pcp=0)", "1:16: a mask is not allowed here"},
		{actions, "set(tunnel(dst=1.1.1.1/255.0.0.0))", "1:23: a mask is not allowed here"},
		{actions, "set(tunnel(flags(+df)))", "1:18: + and - are not allowed here: flags are set, joined by |"},
		{actions, "set(encap())", `1:5: expected a key attribute to set, such as ipv4(ttl=63), found "encap"`},
		{actions, "set(key4(/ff))", "1:5: a value is needed to set"},
		{actions, "sample(sample=101%,actions(1))", `1:15: expected a percentage, found "101"`},
		{actions, "hash(l5(3))", `1:6: expected l4 or sym_l4, found "l5"`},
		{actions, "ct(commit,commit)", "1:11: commit is given twice"},
		{actions, "ct(nat(persistent))", `1:8: expected src or dst, found "persistent"`},
		{actions, "ct(nat(src=1.2.3.4-1.2.3.3))", "1:20: the range ends before it begins, or has two kinds of addresses"},
		{actions, "ct(nat(src=1.2.3.4:5-4))", "1:22: the range ends before it begins"},
		{actions, "userspace(pid=1,ipfix(output_port=1),userdata(00))", "1:38: userdata, attribute 2, is given twice"},
		{actions, "check_pkt_len(size=65536)", "1:20: 65536 is above 65535"},
		{actions, "\"veth-7", `1:8: expected "\"", found the end`},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			_, err := tt.again(ports, tt.in)
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
