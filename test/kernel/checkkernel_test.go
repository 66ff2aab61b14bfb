//go:build lab

package kernel_test

import (
	"io/fs"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"dpifd/docs"
	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
)

// configuration matches a YAML example in the documentation.
var configuration = regexp.MustCompile("(?s)```yaml\n((?:#[^\n]*\n)?(?:datapath|ports|policy|flows|log):.*?)```")

// TestCheckKernel: check --kernel accepts what the kernel accepts, including each example in the
// documentation. It rejects what the kernel rejects, with the position in the file and the kernel's
// reason. It changes nothing on the host.
func TestCheckKernel(t *testing.T) {
	noDaemon(t)
	needMeters(t)
	n := newQuietNetwork(t, 1)
	newDatapath(t, n.sw, n.dpName)
	before := census(t, n)
	check := func(text string, attr *syscall.SysProcAttr) (string, int) {
		t.Helper()
		cmd := exec.Command(lab.DaemonPath(t), "check", "--kernel", "-")
		cmd.Stdin, cmd.SysProcAttr = strings.NewReader(text), attr
		var out []byte
		if err := n.sw.Do(func() error { out, _ = cmd.CombinedOutput(); return nil }); err != nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	good := `ports: [{name: va, storm: {broadcast: 10/s, multicast: 20/s}}, {match: "tap*", storm: {broadcast: 5/s}}]
flows: {static: [{match: "in_port(va),eth_type(0x0800),tcp(dst=22)", actions: "vb"}, {match: "in_port(vb),ipv6()", actions: "push_vlan(vid=3,pcp=0),va"}]}
`
	if out, code := check(good, nil); code != 0 ||
		!strings.HasSuffix(out, "the kernel takes its 2 static flows and 3 meters\n") {
		t.Errorf("exit code %d: %s", code, out)
	}
	examples := 0
	pages, err := fs.Glob(docs.Pages, "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := docs.Pages.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range configuration.FindAllStringSubmatch(string(text), -1) {
			examples++
			if out, code := check(m[1], nil); code != 0 {
				t.Errorf("%s: exit code %d: %s", page, code, out)
			}
		}
	}
	if examples < 2 {
		t.Errorf("%d examples", examples)
	}
	bad := "flows:\n  static:\n    - match: \"in_port(va)\"\n      actions: \"set(ipv4(ttl=3)),vb\"\n" +
		"    - {match: \"in_port(vb)\", actions: va}\n"
	out, code := check(bad, nil)
	t.Log(out)
	if code != 1 ||
		!strings.Contains(out, "standard input:4:16: flows.static[0].actions: the kernel refuses it: invalid argument") ||
		strings.Contains(out, "static[1]") {
		t.Errorf("exit code %d: %s", code, out)
	}
	out, code = check(good, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	if code != 1 || !strings.Contains(out, "make a network namespace: operation not permitted") {
		t.Errorf("as nobody: exit code %d: %s", code, out)
	}
	if diff := cmp.Diff(before, census(t, n)); diff != "" {
		t.Errorf("the host changed:\n%s", diff)
	}
}
