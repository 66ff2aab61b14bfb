package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// tree writes files below a directory, which it returns.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestMemory reads limits in the formats of cgroup v1 and v2.
func TestMemory(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  uint64
	}{
		{"no cgroups", nil, math.MaxUint64},
		{"version 2 without limit", map[string]string{
			"proc/self/cgroup":                 "0::/system.slice/dpifd.service\n",
			"sys/fs/cgroup/memory.max":         "max\n",
			"sys/fs/cgroup/system.slice/other": "1\n",
		}, math.MaxUint64},
		{"version 2, the parent has less", map[string]string{
			"proc/self/cgroup":                                    "0::/system.slice/dpifd.service\n",
			"sys/fs/cgroup/system.slice/memory.max":               "1073741824\n",
			"sys/fs/cgroup/system.slice/dpifd.service/memory.max": "2147483648\n",
		}, 1 << 30},
		{"version 1", map[string]string{
			"proc/self/cgroup": "4:cpu,cpuacct:/a\n3:memory:/a/b\n1:name=systemd:/a\n",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "536870912\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
		}, 512 << 20},
		{"container that sees its own cgroup only", map[string]string{
			"proc/self/cgroup":         "0::/../../machine/c1\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := memory(tree(t, tt.files)); got != tt.want {
				t.Errorf("limit %d, want %d", got, tt.want)
			}
		})
	}
}

func TestQuotaCPUs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int
	}{
		{"no cgroups", nil, math.MaxInt},
		{"version 2 without quota", map[string]string{
			"proc/self/cgroup":        "0::/a\n",
			"sys/fs/cgroup/a/cpu.max": "max 100000\n",
		}, math.MaxInt},
		{"version 2, a part of a CPU counts as one", map[string]string{
			"proc/self/cgroup":        "0::/a\n",
			"sys/fs/cgroup/a/cpu.max": "150000 100000\n",
		}, 2},
		{"version 2, the parent has less", map[string]string{
			"proc/self/cgroup":          "0::/a/b\n",
			"sys/fs/cgroup/a/cpu.max":   "100000 100000\n",
			"sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
		}, 1},
		{"version 1", map[string]string{
			"proc/self/cgroup": "4:cpu,cpuacct:/a\n3:memory:/a/b\n",
			"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us":  "300000\n",
			"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":    "-1\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":   "100000\n",
		}, 3},
		{"malformed", map[string]string{
			"proc/self/cgroup":        "0::/a\nnonsense\n",
			"sys/fs/cgroup/a/cpu.max": "100000 0\n",
			"sys/fs/cgroup/cpu.max":   "\n",
		}, math.MaxInt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := quotaCPUs(tree(t, tt.files)); got != tt.want {
				t.Errorf("%d CPUs, want %d", got, tt.want)
			}
		})
	}
}

func TestUsableCPUs(t *testing.T) {
	if n := UsableCPUs(); n < 1 || n > runtime.GOMAXPROCS(0) {
		t.Errorf("%d CPUs of %d", n, runtime.GOMAXPROCS(0))
	}
}
