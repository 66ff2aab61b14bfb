//go:build lab && systemd

package systemd_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dpifd/docs"
	"dpifd/internal/lab"
)

// file matches a file shown in docs/NETWORK.md, with its path in the first line.
var file = regexp.MustCompile("(?s)```(?:ini|yaml)\n# (\\S+)\n(.*?)```")

// TestHostAddress follows docs/NETWORK.md with systemd-networkd: the local port has the host's
// address, and another host reaches it through the device.
func TestHostAddress(t *testing.T) {
	page, err := docs.Pages.ReadFile("NETWORK.md")
	if err != nil {
		t.Fatal(err)
	}
	root, dp, eth := lab.Root(t), lab.Name("hn"), lab.Name("nic")
	peer := lab.Host(t, root, eth, "", "192.0.2.1/24")
	t.Cleanup(func() { _, _ = root.Try("ip", "link", "delete", eth) })
	names := strings.NewReplacer("dp0", dp, "eth1", eth, "/etc/dpifd/dpifd.yaml", "/etc/dpifd/"+dp+".yaml")
	put := map[string]bool{}
	for _, m := range file.FindAllStringSubmatch(string(page), -1) {
		path := names.Replace(m[1])
		if !strings.HasPrefix(path, "/etc/systemd/network/") && !strings.HasPrefix(path, "/etc/dpifd/") || put[path] {
			continue // for another tool
		}
		put[path] = true
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(names.Replace(m[2])), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
	}
	if len(put) != 3 {
		t.Fatalf("files %v", put)
	}
	// There is no udev here, and networkd would wait for it with each device. It does not wait if
	// /sys is read-only.
	const dropIn = "/etc/systemd/system/systemd-networkd.service.d/lab.conf"
	if err := os.MkdirAll(filepath.Dir(dropIn), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dropIn, []byte("[Service]\nReadOnlyPaths=/sys\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &service{root: root, name: dp, unit: "dpifd@" + dp + ".service"}
	t.Cleanup(func() {
		_, _ = root.Try("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd", s.unit)
		_, _ = root.Try("ovs-dpctl", "del-dp", dp)
	})
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := root.Try("sh", "-c", "journalctl --no-pager --unit=systemd-networkd; ip address; ip route")
			t.Log(out)
		}
	})
	s.systemctl(t, "daemon-reload")
	s.systemctl(t, "start", s.unit)
	s.systemctl(t, "restart", "systemd-networkd")
	s.eventually(t, "another host reaches the local port", func() bool {
		_, err := peer.Try("ping", "-c", "1", "-W", "2", "192.0.2.10")
		return err == nil
	})
	if out := root.Run(t, "ip", "route", "show", "default"); !strings.Contains(out, "via 192.0.2.1 dev "+dp) {
		t.Errorf("default route: %s", out)
	}
	if out := root.Run(t, "ip", "-4", "address", "show", "dev", eth); strings.Contains(out, "192.0.2.") {
		t.Errorf("the device has an address: %s", out)
	}
}
