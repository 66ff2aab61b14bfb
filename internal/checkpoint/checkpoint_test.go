package checkpoint

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
	c, err := New(&dpif.DatapathInfo{Name: "dp9", Index: 7, Stats: dpif.DatapathStats{Missed: 1 << 60, Lost: 3}})
	if err != nil {
		t.Fatal(err)
	}
	dir, name := t.TempDir(), Name(c.Datapath, c.Namespace)
	path := filepath.Join(dir, name)
	if c, err := Load(dir, name); c != nil || err != nil {
		t.Errorf("without a file: %v, %v", c, err)
	}
	if c.Namespace == "" || c.AtMS == 0 {
		t.Errorf("checkpoint %+v lacks the namespace or the time", c)
	}
	macs := []forward.MACEntry{{VLAN: 10, MAC: odp.MAC{2, 0, 0, 0xfe, 1, 0xff}, Port: 0xfffe, SeenMS: 1 << 40}, {Port: 1}}
	c.MACs = Pack(macs)
	for range 2 { // the second time over an existing file
		if err := c.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("the loaded checkpoint differs from the saved one:\n%s", diff)
	}
	if diff := cmp.Diff(macs, got.MACs.Entries()); diff != "" {
		t.Errorf("MACs -want +got:\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: others can read it", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte(`{"lost": -1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, name); err == nil {
		t.Error("an invalid file is accepted")
	}
}

func TestCheckpointPrecedes(t *testing.T) {
	before := Checkpoint{Datapath: "dp0", Index: 5, Namespace: "net:[1]", AtMS: 100, Missed: 10, Lost: 2}
	for _, tt := range []struct {
		name   string
		change func(*Checkpoint)
		want   bool
	}{
		{"same moment", func(*Checkpoint) {}, true},
		{"later", func(c *Checkpoint) { c.AtMS, c.Missed, c.Lost = 200, 11, 3 }, true},
		{"after a reboot", func(c *Checkpoint) { c.AtMS = 50 }, false},
		{"recreated", func(c *Checkpoint) { c.Missed, c.Lost = 0, 0 }, false},
		{"other index", func(c *Checkpoint) { c.Index = 6 }, false},
		{"other datapath", func(c *Checkpoint) { c.Datapath = "dp1" }, false},
		{"other namespace", func(c *Checkpoint) { c.Namespace = "net:[2]" }, false},
	} {
		now := before
		tt.change(&now)
		if got := before.Precedes(&now); got != tt.want {
			t.Errorf("%s: precedes %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"datapath":"dp0","dp_index":3,"namespace":"net:[1]","at_ms":1,"missed":2,"lost":1,` +
		`"macs":"AAoCAAAA/gEAAAABAAAAAAAAAAE="}`))
	f.Add([]byte(`{"macs":"AAoCAAAA/gEAAA=="}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse(data)
		if err != nil {
			return
		}
		// Whatever it contains, a MAC table can load it.
		l, err := forward.NewLearning(forward.Config{})
		if err != nil {
			t.Fatal(err)
		}
		l.SetPorts([]policy.Port{{No: 1, Name: "a"}})
		l.Restore(c.MACs.Entries())
		for _, e := range l.Snapshot() {
			if e.Port != 1 {
				t.Fatalf("a MAC behind port %d, which does not exist", e.Port)
			}
		}
	})
}
