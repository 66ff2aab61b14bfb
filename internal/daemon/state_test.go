package daemon

import (
	"testing"

	"dpifd/internal/config"

	"github.com/google/go-cmp/cmp"
)

// TestStateWithoutDatapath: the state can be requested at any time, and its configuration is valid.
func TestStateWithoutDatapath(t *testing.T) {
	d, _, log := newControlled(t)
	d.sees(t, "in_port(5),eth(src=02:00:00:00:00:05,dst=ff:ff:ff:ff:ff:ff)")
	d.set = []string{"log.level=info"}
	d.dumpState()
	e := log.events(t, "state_daemon")
	if len(e) != 1 || e[0]["served"] != false || e[0]["macs"] != 1.0 || e[0]["mac_limit"] != 8192.0 ||
		e[0]["log_level"] != "info" {
		t.Errorf("state_daemon: %v", e)
	}
	if e := log.events(t, "state_port"); len(e) != 0 {
		t.Errorf("state_port: %v", e)
	}
	e = log.events(t, "state_config")
	if len(e) != 1 {
		t.Fatalf("state_config: %v", e)
	}
	text, _ := e[0]["yaml"].(string)
	got, err := config.Parse("yaml", []byte(text))
	if err != nil || !cmp.Equal(d.cfg(), got) {
		t.Errorf("the configuration in the log: %v\n%s", err, cmp.Diff(d.cfg(), got))
	}
}
