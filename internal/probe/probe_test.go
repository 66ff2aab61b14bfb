package probe

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"dpifd/internal/mmapring"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestRun probes the kernel that the test runs on: each finding must be complete, and Runs must
// agree with the required ones.
func TestRun(t *testing.T) {
	r := Run()
	if r.Kernel == "" || r.Machine == "" || len(r.Findings) < 20 {
		t.Fatalf("%d findings of kernel %q %q", len(r.Findings), r.Kernel, r.Machine)
	}
	name := regexp.MustCompile(`^[a-z_]+$`)
	seen, runs := map[string]bool{}, true
	for _, f := range r.Findings {
		if !name.MatchString(f.Name) || seen[f.Name] || f.Detail == "" || f.Without == "" ||
			strings.Contains(f.Detail, "\n") {
			t.Errorf("finding %+v", f)
		}
		seen[f.Name] = true
		runs = runs && !(f.Required && f.State == No)
		// Features without privileges exist on each kernel that runs this test.
		if f.Name == "recvmmsg" && f.State != Yes {
			t.Errorf("finding %+v", f)
		}
	}
	if r.Runs != runs || r.Runs != (r.Missing() == nil) {
		t.Errorf("runs is %v, missing %v", r.Runs, r.Missing())
	}
	if text := string(r.AppendText(nil)); strings.Count(text, "\n") != len(r.Findings)+2 {
		t.Errorf("text of %d findings:\n%s", len(r.Findings), text)
	}
}

func TestText(t *testing.T) {
	r := Report{Kernel: "6.1.0", Machine: "x86_64", Findings: []Finding{
		{Name: "rx_ring", State: No, Detail: "protocol not available", Without: "upcalls are received by recvmmsg"},
		{Name: "openvswitch", State: No, Detail: "not there", Without: "dpifd does not start", Required: true},
		{Name: "ufid", State: Untried, Detail: "not tried: operation not permitted", Without: "-", Required: true},
	}}
	const want = `kernel 6.1.0 x86_64
no       rx_ring                  protocol not available; without it: upcalls are received by recvmmsg
no       openvswitch              not there; without it: dpifd does not start
untried  ufid                     not tried: operation not permitted; without it: -
dpifd cannot run here
`
	if diff := cmp.Diff(want, string(r.AppendText(nil))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := r.Missing(); err == nil || err.Error() != "openvswitch: not there" {
		t.Errorf("missing: %v", err)
	}
}

// TestGeometry: the probe sets up a smaller ring only when memory is short.
func TestGeometry(t *testing.T) {
	tests := []struct {
		name  string
		fits  uint32 // blocks
		other error
		want  string
		err   error
	}{
		{name: "all", fits: 256, want: mmapring.DefaultGeometry().String()},
		{name: "a quarter", fits: 64, want: "1600 frames of 2560 bytes in 64 blocks of 65536 bytes"},
		{name: "none", fits: 0, err: unix.ENOMEM},
		{name: "refused", fits: 256, other: unix.EPERM, err: unix.EPERM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := geometry(func(g mmapring.Geometry) error {
				if g.Blocks > tt.fits {
					return unix.ENOMEM
				}
				return tt.other
			})
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}
