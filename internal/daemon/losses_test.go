package daemon

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"
	"dpifd/internal/vswitch"
)

// TestLossesOfAPortWhoseSocketChanged: losses of a port are not logged again when its upcalls use
// another socket, but those of another port with its number are separate.
func TestLossesOfAPortWhoseSocketChanged(t *testing.T) {
	var log bytes.Buffer
	logger, err := newLogger(&log, logConfig(config.FormatJSON, config.LevelInfo), false)
	if err != nil {
		t.Fatal(err)
	}
	s := &statsLog{daemon: &run{log: logger}, reported: map[lossKey]uint64{}, next: map[lossKey]uint64{}}
	for _, step := range []struct {
		what   string
		port   vswitch.PortStats
		causes []string
	}{
		{"a ring overruns", vswitch.PortStats{Serial: 1, UpcallPID: 7, Transport: netlink.Ring,
			Counters: upcall.PortCounters{SocketDrops: 5, RingDrops: 5, DecodeErrors: 2}},
			[]string{"ring_full", "decode_error"}},
		{"the port becomes linear", vswitch.PortStats{Serial: 1, UpcallPID: 8,
			Counters: upcall.PortCounters{SocketDrops: 5, RingDrops: 5, DecodeErrors: 2}}, nil},
		{"its queue overflows", vswitch.PortStats{Serial: 1, UpcallPID: 8,
			Counters: upcall.PortCounters{SocketDrops: 8, RingDrops: 5, DecodeErrors: 2}}, []string{"socket_overflow"}},
		{"another port has its number", vswitch.PortStats{Serial: 2, UpcallPID: 8,
			Counters: upcall.PortCounters{SocketDrops: 1}}, []string{"socket_overflow"}},
	} {
		log.Reset()
		step.port.No, step.port.Name = 4, "va"
		s.losses(&vswitch.Stats{Ports: []vswitch.PortStats{step.port}})
		var causes []string
		for line := range bytes.Lines(log.Bytes()) {
			var e struct{ Event, Cause string }
			if err := json.Unmarshal(line, &e); err != nil || e.Event != "upcalls_lost" {
				t.Errorf("%s: %s, %v", step.what, line, err)
			}
			causes = append(causes, e.Cause)
		}
		if !slices.Equal(causes, step.causes) {
			t.Errorf("%s: losses %q are logged, want %q", step.what, causes, step.causes)
		}
	}
}
