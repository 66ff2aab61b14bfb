package config

import (
	"strings"
	"testing"
	"time"

	"dpifd/internal/forward"

	"github.com/google/go-cmp/cmp"
)

const overridden = "ports: [{name: va}, {name: vb}]\npolicy: {mac_aging: 60s}\n"

func TestOverrides(t *testing.T) {
	want, err := Parse("f", []byte(overridden))
	if err != nil {
		t.Fatal(err)
	}
	want.Policy.MACAging = 2 * time.Minute
	want.Datapath.Name = "br9"
	want.Log = Log{Level: LevelError, Format: FormatConsole, StatsInterval: time.Minute}
	want.Ports[1].Name = "vc"
	want.Ports[0].VLAN = forward.VLANConfig{Access: 7}
	want.Control.Socket = "off"
	want.Netns = ""
	got, err := Parse("f", []byte(overridden), "policy.mac_aging=2m", "datapath.name=br8", "datapath.name=br9",
		"log={level: error, format: console, stats_interval: 1m}", "ports[1].name=vc", "ports[0].vlan.access=7",
		"control.socket=off", `netns=""`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err = Parse("f", []byte(overridden), "ports=[{name: x, type: internal}]", "ports[0].name=y")
	if err != nil || len(got.Ports) != 1 || got.Ports[0].Name != "y" || got.Ports[0].Type != PortInternal {
		t.Errorf("a list: %v, %v", got, err)
	}
}

// TestOverrideMistakes: each error names the flag, and no configuration is returned.
func TestOverrideMistakes(t *testing.T) {
	for _, tc := range []struct{ flag, want string }{
		{"log.level", "want KEY=VALUE, such as log.level=debug"},
		{"=3", "want KEY=VALUE, such as log.level=debug"},
		{"log.leven=debug", `unknown key "log.leven"; did you mean "log.level"?`},
		{"handlers.x=1", "handlers: has no keys below it"},
		{"log.level=loud", `log.level: want debug, info, warn or error, not the string "loud"`},
		{"handlers=1025", "handlers: 1025 is out of range; want 0 to 1024"},
		{"handlers=", "handlers: has no value"},
		{"handlers=[", "handlers: "},
		{"handlers=*a", "handlers: aliases (*) are not taken here; write the value out"},
		{"policy=learning", `policy: want a mapping (key: value), not the string "learning"`},
		{"policy={type: drop, colour: red}", `unknown key "policy.colour"; known here: `},
		{"ports[2].name=vc", "ports: has 2 entries; there is no [2]"},
		{"ports[x].name=vc", "ports: want an index such as [0], not [x"},
		{"ports[1=vc", "ports: want an index such as [0], not [1"},
		{"ports=0", "ports: want a list, not the number 0"},
		{"policy[0].type=drop", "policy: is not a list"},
		{"ports[1].name=va", `ports[1].name: duplicate port "va"`},
		{"datapath.name=va", `ports[0].name: `},
		{"datapath.name=far-too-long-name", "datapath.name: "},
		{"ring.frame_size=2562B", "ring.frame_size: 2562B is not a multiple of 4 bytes"},
	} {
		c, err := Parse("f", []byte(overridden), tc.flag)
		if err == nil || c != nil {
			t.Errorf("%s: accepted", tc.flag)
			continue
		}
		prefix := "--set " + tc.flag + ": "
		if tc.flag == "datapath.name=va" {
			prefix = "f:1:16: " // the error is about the port's name in the file
		}
		if !strings.HasPrefix(err.Error(), prefix+tc.want) {
			t.Errorf("%s: %v\nwant %s", tc.flag, err, prefix+tc.want)
		}
	}
	// A mistake in the file is reported with its position nevertheless.
	if _, err := Parse("f", []byte("handlers: x\n"), "handlers=3"); err == nil ||
		!strings.HasPrefix(err.Error(), "f:1:11: handlers: ") {
		t.Errorf("a mistake of the file: %v", err)
	}
}

func FuzzOverride(f *testing.F) {
	for _, s := range []string{"log.level=debug", "ports[0].name=x", "ports=[{name: x}]", "ring={mode: off", "ports[9",
		"policy.type=\x00", "=", "a.b.c=1", "ports=0", "ports[0]={name: 1}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, flag string) {
		c, err := Parse("f", []byte(overridden), flag)
		if (c == nil) == (err == nil) {
			t.Errorf("%q: %v and %v", flag, c, err)
		}
		if err != nil {
			return
		}
		again, err := Parse("f", c.Effective())
		if err != nil || !cmp.Equal(c, again) {
			t.Errorf("%q: its effective configuration is another: %v", flag, err)
		}
	})
}
