package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"
)

// TestControlReload: a reload over the control socket returns what changed, what requires a
// restart, and why a file is invalid.
func TestControlReload(t *testing.T) {
	d, c, log := newControlled(t)
	d.path = filepath.Join(t.TempDir(), "dpifd.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(d.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(string(d.cfg().Effective()), "mac_aging: 5m", "mac_aging: 1m", 1))
	done, err := endpoint.Reload.Ask(t.Context(), c, control.None{})
	if err != nil || !slices.Equal(done.Changed, []string{"policy"}) || len(done.Ignored) != 0 || done.Config != d.path {
		t.Errorf("%+v, %v", done, err)
	}
	in, err := endpoint.GetConfig.Ask(t.Context(), c, control.None{})
	if err != nil || !strings.Contains(in.YAML, "mac_aging: 1m\n") || in.Config != d.path {
		t.Errorf("%+v, %v", in, err)
	}
	if same, err := config.Parse("in force", []byte(in.YAML)); err != nil ||
		!bytes.Equal(same.Effective(), d.cfg().Effective()) {
		t.Errorf("%v in\n%s", err, in.YAML)
	}
	write("handlers: 7\n" + strings.Replace(in.YAML, "handlers: 0\n", "", 1))
	if done, err = endpoint.Reload.Ask(t.Context(), c, control.None{}); err != nil || len(done.Changed) != 0 ||
		!slices.Equal(done.Ignored, []string{"handlers"}) {
		t.Errorf("%+v, %v", done, err)
	}
	write("policy: {type: flod}\n")
	if _, err = endpoint.Reload.Ask(t.Context(), c, control.None{}); err == nil ||
		!strings.Contains(err.Error(), d.path+":1:16: policy.type: want ") {
		t.Errorf("a bad file: %v", err)
	}
	if n, m := len(log.events(t, "reloaded")), len(log.events(t, "reload_failed")); n != 2 || m != 1 {
		t.Errorf("%d events reloaded and %d reload_failed, want 2 and 1", n, m)
	}
	if string(d.cfg().Effective()) != in.YAML {
		t.Errorf("in force is\n%s", d.cfg().Effective())
	}
}

func TestControlFlushMACs(t *testing.T) {
	d, c, log := newControlled(t)
	d.sees(t, "in_port(5),eth(src=02:00:00:00:00:05,dst=ff:ff:ff:ff:ff:ff)")
	d.sees(t, "in_port(1),eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff)")
	vlan := uint16(7)
	for _, tc := range []struct {
		flush endpoint.Flush
		want  int
	}{{endpoint.Flush{VLAN: &vlan}, 0}, {endpoint.Flush{Port: "vc"}, 1}, {endpoint.Flush{}, 1}} {
		if done, err := endpoint.FlushMACs.Ask(t.Context(), c, tc.flush); err != nil || done.MACs != tc.want {
			t.Errorf("%+v: %+v, %v; want %d", tc.flush, done, err, tc.want)
		}
	}
	if _, err := endpoint.FlushMACs.Ask(t.Context(), c, endpoint.Flush{Port: "nosuch"}); err == nil ||
		err.Error() != "dp0 has no port nosuch" {
		t.Errorf("port nosuch: %v", err)
	}
	e := log.events(t, "macs_flushed")
	if len(e) != 3 || e[1]["port"] != "vc" || e[1]["macs"] != 1.0 || e[0]["vlan"] != 7.0 || e[1]["vlan"] != -1.0 {
		t.Errorf("events %v", e)
	}
	if macs, err := endpoint.GetMACs.Ask(t.Context(), c, control.None{}); err != nil || len(macs) != 1 || !macs[0].Static {
		t.Errorf("left are %v, %v; want the static MAC", macs, err)
	}
}
