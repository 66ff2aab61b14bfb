//go:build lab

package kernel_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"dpifd/internal/endpoint"
	"dpifd/internal/lab"
)

// TestReloadCommand: dpifd check --diff predicts what dpifd reload does; a bad file changes
// nothing; dpifd flush-macs removes learned MACs.
func TestReloadCommand(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 3, 0)
	a, b, c := n.hosts[0], n.hosts[1], n.hosts[2]
	ports := func(names ...string) string { return "[{name: " + strings.Join(names, "}, {name: ") + "}]" }
	file := lab.WriteConfig(t, n.config(settings{"ports": ports(a.port, b.port)}))
	d := n.sw.StartDaemonFile(t, file)
	d.Wait(t, time.Time{}, "ready", nil)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := dpifd(t, n.sw, "check", file, "--diff"); out != file+": ok\na reload would change nothing\n" {
		t.Errorf("check --diff: %s", out)
	}
	write(n.config(settings{"ports": ports(a.port, b.port, c.port), "handlers": "1", "policy": "{mac_aging: 200s}"}))
	out := dpifd(t, n.sw, "check", file, "--diff")
	for _, want := range []string{"\n+  - name: \"" + c.port + "\"\n", "\n-  mac_aging: 5m\n+  mac_aging: 3m20s\n",
		"\na reload would change ports, policy\nneeds a restart: handlers\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("check --diff lacks %q:\n%s", want, out)
		}
	}
	start := time.Now()
	if out := dpifd(t, n.sw, "reload", n.dpName); out != file+": changed ports, policy\n"+
		file+": unchanged until a restart: handlers\n" {
		t.Errorf("reload: %s", out)
	}
	d.Wait(t, start, "port_added", func(e lab.Event) bool { return e.Fields["port"] == c.port })
	ping(t, a.NetNS, c.ip4, 3, 56)

	write("ports: [{name: x}, {name: x}]\n")
	wantFailure(t, n.sw, 1, file+":1:27: ports[1].name: duplicate port", "reload", n.dpName)
	ping(t, a.NetNS, c.ip4, 3, 56)

	macs := ask[[]endpoint.MAC](t, n, "dump-macs", n.dpName)
	if out := ask[endpoint.Flushed](t, n, "flush-macs", n.dpName, "--port", c.port); out.MACs < 1 ||
		out.MACs >= len(macs) {
		t.Errorf("%d MACs of %s removed, of %+v", out.MACs, c.port, macs)
	}
	ping(t, a.NetNS, c.ip4, 3, 56)
	wantFailure(t, n.sw, 1, n.dpName+" has no port nosuch", "flush-macs", n.dpName, "--port", "nosuch")
}
