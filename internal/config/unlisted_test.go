package config

import "testing"

func TestDropsUnlisted(t *testing.T) {
	for text, want := range map[string]bool{
		"{}":                                                           false,
		"ports: [{name: a, hairpin: true}]":                            false,
		"ports: [{name: a, vlan: {access: 3}}]":                        true,
		"ports: [{name: a, vlan: {trunk: [3]}}]":                       true,
		"ports: [{name: a, vlan: {native: 3}}]":                        true,
		"ports: [{name: a, isolated: true}]":                           true,
		"ports: [{name: a, mirror_to: b}, {name: b}]":                  true,
		"ports: [{name: a, mac_limit: 4}]":                             true,
		"ports: [{name: a, max_upcalls: 4/s}]":                         true,
		"ports: [{name: a, storm: {broadcast: 4/s}}]":                  true,
		"ports: [{name: a, vlan: {access: 3}}]\nports_unlisted: serve": false,
		"ports: [{name: a}]\nports_unlisted: drop":                     true,
	} {
		c, err := Parse("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.DropsUnlisted(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// TestDropsLocal: with VLAN settings the local port is in VLAN 0, unless the file says drop.
func TestDropsLocal(t *testing.T) {
	for text, want := range map[string]bool{
		"{}":                                    false,
		"ports: [{name: a, vlan: {access: 3}}]": false,
		"ports: [{name: a, vlan: {access: 3}, isolated: true}]":                  false,
		"ports: [{name: a, isolated: true}]":                                     true,
		"ports: [{name: a, vlan: {access: 3}}]\nports_unlisted: drop":            true,
		"ports: [{name: a, vlan: {access: 3}}]\nports_unlisted: serve":           false,
		"ports: [{name: a, mac_limit: 3}, {name: b}]\nports_unlisted: serve":     false,
		"ports: [{name: dp0, type: internal, vlan: {trunk: [3]}}, {name: eth0}]": false,
	} {
		c, err := Parse("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.DropsLocal(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
