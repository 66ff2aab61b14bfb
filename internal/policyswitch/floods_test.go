package policyswitch

import (
	"fmt"
	"strings"
	"testing"

	"dpifd/internal/config"
)

func TestFloodWarning(t *testing.T) {
	const access, tunnel = "{name: p%d, vlan: {access: %d}}",
		"{name: p%d, type: vxlan, vlan: {access: %d}, tunnel: {remote: 192.0.2.9, key: %d}}"
	for _, tt := range []struct {
		policy, port string
		ports, vlans int
		want         string // in the warning, "" for none
	}{
		{"learning", access, 4000, 1, ""},
		{"learning", access, 4500, 1, "a flood in VLAN 1 takes 35992 bytes of actions, too many for a flow before Linux 4.15: each broadcast packet will be an upcall"},
		{"flood", tunnel, 1400, 1, "bytes of actions, too many for a flow: each broadcast"},
		{"learning", tunnel, 1400, 3, ""},
		{"static", tunnel, 1400, 1, ""},
	} {
		var text strings.Builder
		fmt.Fprintf(&text, "policy: {type: %s}\nports:\n", tt.policy)
		for i := range tt.ports {
			args := []any{i, 1 + i%tt.vlans, i}[:strings.Count(tt.port, "%d")]
			fmt.Fprintf(&text, "- "+tt.port+"\n", args...)
		}
		cfg, err := config.Parse("test", []byte(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		if got := FloodWarning(cfg); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s, %d ports: %q, want %q", tt.policy, tt.ports, got, tt.want)
		}
	}
}
