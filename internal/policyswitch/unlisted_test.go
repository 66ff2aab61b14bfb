package policyswitch

import (
	"slices"
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// TestUnlistedLocalPort: by default the local port is in VLAN 0 if ports have VLANs, and carries
// nothing if ports have other settings.
func TestUnlistedLocalPort(t *testing.T) {
	for _, c := range []struct {
		file string
		says bool
		want string
	}{
		{"ports: [{name: a}, {name: b, vlan: {access: 10}}]", false, "multicast"},
		{"ports: [{name: a}, {name: b, vlan: {access: 10}}]\nports_unlisted: drop", true, reasonUnlisted},
		{"ports: [{name: a}, {name: b, isolated: true}]", true, reasonUnlisted},
		{"ports: [{name: a}, {name: b}]", false, "multicast"},
	} {
		file, err := config.Parse("x", []byte(c.file))
		if err != nil {
			t.Fatal(err)
		}
		var reported []event.Event
		s := New(func(e event.Event) { reported = append(reported, e) })
		if err := s.Use(file); err != nil {
			t.Fatal(err)
		}
		s.SetPorts([]policy.Port{{No: localPort, Name: "dp0", Device: "dp0"}, {No: 1, Name: "a", Listed: true},
			{No: 2, Name: "b", Listed: true}})
		var e netlink.Encoder
		odp.AppendInPort(&e, localPort)
		odp.AppendEthernet(&e, odp.MAC{2, 0, 0, 0, 0, 1}, odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		odp.AppendEthertype(&e, 0x88b5)
		var v policy.Verdict
		s.Decide(&dpif.Upcall{InPort: localPort, Key: e.Bytes()}, 1000, &v)
		if v.Reason != c.want || (len(reported) > 0) != c.says {
			t.Errorf("%s: %s, events %v; want %s", c.file, v.Reason, reported, c.want)
		}
	}
}

// TestUnlistedStatic: static flows without an in-port do not match packets of a vport that may
// carry nothing.
func TestUnlistedStatic(t *testing.T) {
	const flows = "\nflows: {static: [{match: 'eth_type(0x88b5)', actions: 'a,b'}]}"
	for _, c := range []struct {
		file string
		want []odp.PortNo // in-ports of the kernel's flow, nil for any
	}{
		{"ports: [{name: a}, {name: b, isolated: true}]", []odp.PortNo{1, 2}},
		{"ports: [{name: a}, {name: b}]", nil},
	} {
		file, err := config.Parse("x", []byte(c.file+flows))
		if err != nil {
			t.Fatal(err)
		}
		s := New(func(event.Event) {})
		if err := s.Use(file); err != nil {
			t.Fatal(err)
		}
		s.SetPorts([]policy.Port{{No: 1, Name: "a", Listed: true}, {No: 2, Name: "b", Listed: true}, {No: 3, Name: "other"}})
		var got []odp.PortNo
		for _, f := range s.StaticFlows() {
			if in, err := odp.InPort(f.Mask); err == nil && in != 0 {
				in, _ = odp.InPort(f.Key)
				got = append(got, in)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: in-ports %v, want %v", c.file, got, c.want)
		}
	}
}

// TestUnlistedFlow: one flow drops everything from a vport without an entry, unless static flows
// name the vport.
func TestUnlistedFlow(t *testing.T) {
	for _, c := range []struct {
		static  string
		install bool
	}{{"eth_type(0x88b5)", true}, {"in_port(3),eth_type(0x88b5)", false}} {
		file, err := config.Parse("x",
			[]byte("ports: [{name: a}, {name: b, isolated: true}]\nflows: {static: [{match: '"+c.static+"', actions: 'b'}]}"))
		if err != nil {
			t.Fatal(err)
		}
		s := New(func(event.Event) {})
		if err := s.Use(file); err != nil {
			t.Fatal(err)
		}
		s.SetPorts([]policy.Port{{No: 1, Name: "a", Listed: true}, {No: 2, Name: "b", Listed: true}, {No: 3, Name: "other"}})
		var e netlink.Encoder
		odp.AppendInPort(&e, 3)
		odp.AppendEthernet(&e, odp.MAC{2, 0, 0, 0, 0, 1}, odp.MAC{2, 0, 0, 0, 0, 2})
		odp.AppendEthertype(&e, 0x86dd)
		var v, again policy.Verdict
		s.Decide(&dpif.Upcall{InPort: 3, Key: e.Bytes()}, 1000, &v)
		if v.Install != c.install || v.Actions.Len() != 0 {
			t.Errorf("%s: installs %v, %d bytes of actions", c.static, v.Install, v.Actions.Len())
		}
		if keep := s.Redecide(e.Bytes(), &again); keep != c.install || again.Install != keep {
			t.Errorf("%s: re-decided %v, installs %v", c.static, keep, again.Install)
		}
	}
}
