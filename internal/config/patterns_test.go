package config

import "testing"

// TestPort: names have priority over patterns, and the first matching pattern applies.
func TestPort(t *testing.T) {
	c, err := Parse("f",
		[]byte("ports: [{match: 'tap1*', mac_limit: 1}, {match: 'tap*', mac_limit: 2}, {name: tap12, mac_limit: 3}]"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"tap1": 1, "tap11": 1, "tap2": 2, "tap": 2, "tap12": 3, "ta": 0, "xtap1": 0} {
		got := 0
		if p := c.Port(name); p != nil {
			got = p.MACLimit
		}
		if got != want {
			t.Errorf("port %q has the entry with mac_limit %d, want %d", name, got, want)
		}
	}
}
