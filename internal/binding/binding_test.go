package binding

import (
	"encoding/json"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

func none(string) uint32 { return 0 }

func netdev(no odp.PortNo, name string, ifindex uint32) dpif.Vport {
	return dpif.Vport{No: no, Name: name, Type: dpif.VportNetdev, Ifindex: ifindex}
}

func internal(no odp.PortNo, name string, ifindex uint32, netns int32) dpif.Vport {
	return dpif.Vport{No: no, Name: name, Type: dpif.VportInternal, Ifindex: ifindex, Elsewhere: netns >= 0, Netns: netns}
}

func TestBind(t *testing.T) {
	vports := []dpif.Vport{
		internal(0, "br0", 2, -1), netdev(1, "va", 10), netdev(2, "vb", 11), internal(3, "tap0", 12, 4),
		internal(4, "eth0", 13, 4), internal(5, "eth0", 13, 5),
		internal(6, "tap1", 20, -1),
	}
	entries := []Entry{
		{"va", dpif.VportNetdev, false}, {"enp3s0", dpif.VportNetdev, false}, {"tap0", dpif.VportInternal, false}, {"eth0", dpif.VportInternal, false},
		{"missing", dpif.VportNetdev, false}, {"dp0", dpif.VportInternal, true}, {"vb", dpif.VportInternal, false},
	}
	tab := NewTable()
	tab.Bind(entries, vports, func(name string) uint32 {
		return map[string]uint32{"enp3s0": 11, "va": 10, "vb": 11}[name]
	})
	tab.Update(vports)
	want := map[odp.PortNo]string{0: "dp0", 1: "va", 2: "enp3s0", 3: "tap0"}
	for _, v := range vports {
		if got := tab.Entry(v.No); got != want[v.No] {
			t.Errorf("vport %d has entry %q, want %q", v.No, got, want[v.No])
		}
	}
	// Names change, entries do not. A device that gets an entry's name is a different device.
	vports[1].Name, vports[2].Name = "vb", "va"
	vports = append(vports, netdev(7, "tap0", 21))
	tab.Update(vports)
	tab.Bind(entries, vports, none)
	want[7] = ""
	for no, entry := range want {
		if got := tab.Entry(no); got != entry {
			t.Errorf("after renames vport %d has entry %q, want %q", no, got, entry)
		}
	}
	tab.Update(vports[:1])
	if _, ok := tab.Number("va"); ok || len(tab.Ports()) != 1 {
		t.Errorf("removed vports are still listed: %v", tab.Ports())
	}
}

func TestRestore(t *testing.T) {
	before := NewTable()
	for _, v := range []dpif.Vport{netdev(1, "va", 10), netdev(2, "vb", 11), internal(3, "tap0", 12, 4),
		netdev(4, "vd", 0), netdev(5, "ve", 0)} {
		before.Set(v, "entry-"+v.Name)
	}
	text, err := json.Marshal(before.Ports())
	if err != nil {
		t.Fatal(err)
	}
	var former []Port
	if err := json.Unmarshal(text, &former); err != nil {
		t.Fatal(err)
	}
	after := NewTable()
	if after.Replaced(1) {
		t.Error("without an earlier table a number is reported as replaced")
	}
	after.Restore(former, []dpif.Vport{
		netdev(1, "renamed", 10),   // same device, renamed
		netdev(2, "vb", 99),        // another device of the same name
		internal(3, "tap0", 12, 5), // in another namespace
		netdev(4, "vd", 0),         // no ifindex from the kernel, so compare the name
		netdev(5, "other", 0), netdev(6, "new", 13),
	})
	want := map[odp.PortNo]string{1: "entry-va", 4: "entry-vd"}
	got := map[odp.PortNo]string{}
	for _, p := range after.Ports() {
		got[p.No] = p.Entry
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored -want +got:\n%s", diff)
	}
	for no, replaced := range map[odp.PortNo]bool{1: false, 2: true, 3: true, 4: false, 5: true, 6: true} {
		if after.Replaced(no) != replaced {
			t.Errorf("vport %d: replaced %v", no, !replaced)
		}
	}
	if no, ok := after.Release("entry-va"); !ok || no != 1 || after.Entry(1) != "" || after.Replaced(1) {
		t.Errorf("release: %d, %v", no, ok)
	}
}
