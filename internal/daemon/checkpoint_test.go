package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

func TestCheckpoint(t *testing.T) {
	dir, name := t.TempDir(), "dp9.1.state"
	path := filepath.Join(dir, name)
	if c, err := loadCheckpoint(dir, name); c != nil || err != nil {
		t.Errorf("without a file: %v, %v", c, err)
	}
	c, err := newCheckpoint(&dpif.DatapathInfo{Name: "dp9", Index: 7, Stats: dpif.DatapathStats{Missed: 1 << 60, Lost: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Namespace == "" || c.AtMS == 0 {
		t.Errorf("checkpoint %+v lacks the namespace or the time", c)
	}
	macs := []forward.MACEntry{{VLAN: 10, MAC: odp.MAC{2, 0, 0, 0xfe, 1, 0xff}, Port: 0xfffe, SeenMS: 1 << 40}, {Port: 1}}
	c.MACs = packMACs(macs)
	for range 2 { // also over one that is there
		if err := c.save(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	got, err := loadCheckpoint(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("what was loaded is not what was saved:\n%s", diff)
	}
	if diff := cmp.Diff(macs, got.MACs.entries()); diff != "" {
		t.Errorf("MACs -want +got:\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: others can read it", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte(`{"lost": -1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadCheckpoint(dir, name); err == nil {
		t.Error("a file that makes no sense is taken")
	}
}

func TestCheckpointPrecedes(t *testing.T) {
	before := checkpoint{Datapath: "dp0", Index: 5, Namespace: "net:[1]", AtMS: 100, Missed: 10, Lost: 2}
	for _, tt := range []struct {
		name   string
		change func(*checkpoint)
		want   bool
	}{
		{"same moment", func(*checkpoint) {}, true},
		{"later", func(c *checkpoint) { c.AtMS, c.Missed, c.Lost = 200, 11, 3 }, true},
		{"after a reboot", func(c *checkpoint) { c.AtMS = 50 }, false},
		{"made anew", func(c *checkpoint) { c.Missed, c.Lost = 0, 0 }, false},
		{"other index", func(c *checkpoint) { c.Index = 6 }, false},
		{"other datapath", func(c *checkpoint) { c.Datapath = "dp1" }, false},
		{"other namespace", func(c *checkpoint) { c.Namespace = "net:[2]" }, false},
	} {
		now := before
		tt.change(&now)
		if got := before.precedes(&now); got != tt.want {
			t.Errorf("%s: precedes %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"datapath":"dp0","dp_index":3,"namespace":"net:[1]","at_ms":1,"missed":2,"lost":1,"macs":"AAoCAAAA/gEAAAABAAAAAAAAAAE="}`))
	f.Add([]byte(`{"macs":"AAoCAAAA/gEAAA=="}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCheckpoint(data)
		if err != nil {
			return
		}
		// Whatever it says, a table can take it.
		l, err := forward.NewLearning(forward.Config{})
		if err != nil {
			t.Fatal(err)
		}
		l.SetPorts([]policy.Port{{No: 1, Name: "a"}})
		l.Restore(c.MACs.entries())
		for _, e := range l.Snapshot() {
			if e.Port != 1 {
				t.Fatalf("a MAC behind port %d, which is not there", e.Port)
			}
		}
	})
}
