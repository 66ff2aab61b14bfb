//go:build lab

package kernel_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/lab"
	"dpifd/internal/policy"
)

// staticMatches are matches as people write them; some lack fields that the kernel requires.
var staticMatches = []string{
	"in_port(1)", "eth()", "in_port(1),eth(),eth_type(0x0800)", "in_port(1),eth_type(0x0806)",
	"in_port(1),eth_type(0x86dd)", "in_port(1),eth_type(0x0800),ipv4(proto=6)", "in_port(1),ipv4(dst=10.0.0.1)",
	"ipv4(dst=10.0.0.1)", "in_port(1),arp()", "in_port(1),arp(op=1)", "in_port(1),eth_type(0x0800),tcp(dst=22)",
	"in_port(1),eth_type(0x86dd),tcp(dst=22)", "in_port(1),ipv6(),udp(dst=53)",
	"in_port(1),eth_type(0x0800),ipv4(proto=6),tcp()", "in_port(1),ipv6(proto=58)", "in_port(1),icmpv6(type=135)",
	"in_port(1),icmpv6(type=136),nd(target=fd00::77)", "in_port(1),icmp(type=8)",
	"in_port(1),eth_type(0x0800),sctp(dst=9)", "in_port(1),vlan(vid=10)",
	"in_port(1),eth_type(0x8100),vlan(vid=10),encap()", "in_port(1),vlan(vid=10,pcp=3)",
	"in_port(1),eth_type(0x88a8),vlan(vid=10),encap(vlan(vid=5))", "in_port(1),vlan(vid=10),encap(eth_type(0x0800))",
	"in_port(1),vlan(vid=10),encap(ipv4())", "vlan(vid=10),encap(ipv4(dst=10.0.0.1))",
	"vlan(vid=10),encap(vlan(vid=11),encap(tcp(dst=1),ipv4()))", "eth(dst=02:00:00:00:00:01),vlan(vid=10)",
	"in_port(1),eth_type(0x8847)", "in_port(1),eth_type(0x88cc)", "in_port(1),eth_type(0/0xffff)",
	"in_port(1),eth_type(0x8035)", "in_port(1),eth_type(0x0800),ipv4(frag=later)",
	"in_port(1),eth_type(0x0800),ipv4(proto=17,frag=later)",
	"in_port(1),eth_type(0x0800),ipv4(proto=6),tcp(),tcp_flags(+syn-ack)",
	"in_port(1),eth_type(0x0800),ipv4(proto=6/0x6)", "in_port(1),recirc_id(0x1),eth_type(0x0800),tcp(dst=1)",
	"in_port(1),ct_state(+trk),ct_zone(0x2)",
}

// TestKernelTakesStatic installs static flows: the kernel must accept all that pass the check.
func TestKernelTakesStatic(t *testing.T) {
	t.Parallel()
	dp := newDatapath(t, lab.NewNetNS(t, "taken"), "taken")
	random := rand.New(rand.NewPCG(17, 1))
	list := slices.Clone(staticMatches)
	for _, template := range keyTemplates {
		for range 5 {
			list = append(list, fill(random, template))
		}
	}
	taken, refused := 0, 0
	for i, match := range list {
		o, err := forward.NewOverlay(forward.NewDrop(), []forward.StaticFlow{{Match: match, Actions: "drop"}})
		var wrong *forward.StaticError
		switch {
		case i < len(staticMatches) && err != nil:
			t.Errorf("%s: %v", match, err)
			continue
		case errors.As(err, &wrong):
			refused++
			continue
		case err != nil:
			t.Fatal(err)
		}
		o.SetPorts([]policy.Port{{No: 1, Name: "p1"}})
		for _, f := range o.StaticFlows() {
			flow := dpif.Flow{UFID: f.UFID, HasUFID: true, Key: f.Key, Mask: f.Mask, Actions: f.Do}
			if !lab.Has(t, "what the check takes: "+match, func() error { return dp.PutFlow(&flow, dpif.Create) }) {
				continue
			}
			taken++
			if err := dp.DeleteFlow(&flow); err != nil {
				t.Errorf("%s: %v", match, err)
			}
		}
	}
	t.Logf("the kernel accepted %d static flows; %d were refused by the check", taken, refused)
	least := len(list) * 2 / 3
	if !lab.Strict() {
		least = len(list) / 2 // older kernels support fewer attributes
	}
	if taken < least {
		t.Errorf("only %d of %d accepted", taken, len(list))
	}
}
