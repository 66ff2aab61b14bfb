//go:build lab

package kernel_test

import (
	"strings"
	"testing"

	"dpifd/internal/lab"
)

// TestLab checks what all other tests rely on: a datapath without a daemon forwards by flows that a
// tool installed.
func TestLab(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	sw := lab.NewNetNS(t, "sw")
	lab.Need(t, "openvswitch", func() error {
		_, err := sw.Try("ovs-dpctl", "add-dp", "dp0")
		return err
	})
	left := lab.Host(t, sw, "va", "", "192.0.2.1/24", "2001:db8::1/64")
	right := lab.Host(t, sw, "vb", "", "192.0.2.2/24", "2001:db8::2/64")
	sw.DPCtl(t, "add-if", "dp0", "va", "vb")

	if _, received := left.Ping(t, "192.0.2.2", 1); received != 0 {
		t.Fatal("a datapath without flows and without a daemon forwards")
	}
	for _, flow := range [][2]string{{"1", "2"}, {"2", "1"}} {
		for _, key := range []string{"eth_type(0x0806),arp()", "eth_type(0x0800),ipv4(frag=no)",
			"eth_type(0x86dd),ipv6(frag=no)"} {
			sw.DPCtl(t, "add-flow", "dp0", "in_port("+flow[0]+"),eth(),"+key, flow[1])
		}
	}
	for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
		sent, received := left.Ping(t, addr, 3)
		if sent != 3 || received != 3 {
			t.Errorf("ping %s: sent %d, received %d, want 3 and 3", addr, sent, received)
		}
	}
	if _, received := right.Ping(t, "192.0.2.1", 2); received != 2 {
		t.Errorf("ping back: received %d, want 2", received)
	}
	show := sw.DPCtl(t, "show", "dp0")
	for _, want := range []string{"port 0: dp0 (internal)", "port 1: va", "port 2: vb", "flows: 6"} {
		if !strings.Contains(show, want) {
			t.Errorf("ovs-dpctl show lacks %q:\n%s", want, show)
		}
	}
}
