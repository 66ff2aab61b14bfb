package config

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// Tests see the defaults of a machine with enough memory.
func init() { ringMemory = func() uint64 { return defaultRingLimit } }

// TestCgroupMemory reads limits as kernels tell them, of both versions.
func TestCgroupMemory(t *testing.T) {
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
			root := t.TempDir()
			for name, content := range tt.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := cgroupMemory(root); got != tt.want {
				t.Errorf("limit %d, want %d", got, tt.want)
			}
		})
	}
}

// TestRingMemory: a file that sets no limit gets at most an eighth of the memory, one
// that sets it gets what it says.
func TestRingMemory(t *testing.T) {
	defer func(f func() uint64) { ringMemory = f }(ringMemory)
	ringMemory = func() uint64 { return 8 << 20 } // less than a ring of the default size
	for file, want := range map[string]uint64{
		"{}":                             8 << 20,
		"ring: {memory_limit: 1GiB}":     1 << 30,
		"ring: {frame_size: 4KiB}":       8 << 20,
		"ring: {memory_limit: 512MiB}":   512 << 20,
		"ring: {memory_limit: 16384KiB}": 16 << 20,
	} {
		c, err := Parse("f", []byte(file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if c.Ring.MemoryLimit != want {
			t.Errorf("%s: limit %d, want %d", file, c.Ring.MemoryLimit, want)
		}
	}
	if m := memory("/"); m < 64<<20 || m == math.MaxUint64 {
		t.Errorf("%d bytes of memory", m)
	}
}
