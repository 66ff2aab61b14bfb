package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/mmapring"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

// everyKey sets each key to a value other than its default.
const everyKey = `---
# One file.
datapath: {name: br0, create: false, on_exit: delete}
netns: /run/netns/blue
wait_for_module: true
dispatch: per-cpu
ports_unlisted: serve
loop_guard: block
handlers: 1024
ring:
  mode: off  # a word, not a boolean
  tx: auto
  frame_size: 16KiB
  block_size: 128KiB
  blocks: 3
  memory_limit: 1GiB
socket:
  rcvbuf: 524288KiB
ports:
- name: va
  max_upcalls: 2500/s
  allow: {macs: ["02:00:5e:00:00:03"], addresses: [192.0.2.0/25, 192.0.2.200, "2001:db8::/32", "fe80::3"]}
  dhcp_server: false
  router_advertisements: false
  multicast_router: true
  loop_guard: log
- {"name": 'int0', type: "internal", address: [10.0.0.1/24, "fd00::1/64"], up: true, mtu: 9000, mac: "02:00:5e:00:00:07", vlan: {access: 4094}, isolated: true, group: a, mac_limit: 5, storm: {multicast: 7/s}}
-
  type: netdev
  name: "12"
  vlan:
    trunk:
      - 10
      - 20-29
      - "31"
    native: 1
  hairpin: true
  mirror_to: vx0
- name: vx0
  type: vxlan
  tunnel: {remote: 192.0.2.1, local: 192.0.2.2, key: 42, dst_port: 8472, ttl: 3, tos: inherit, csum: true}
- {name: gre6, type: gre, tunnel: {remote: "2001:db8::1", key: 4294967295, tos: 184}}
- {match: 'tap[0-9]*', vlan: {access: 7}, mac_limit: 2, mirror_to: vx0}
policy:
  type: flood
  mac_aging: 1h30m
  mac_limit: 1000000
  shared_learning: true
  forward_bpdu: true
  multicast_snooping: true
  multicast_flood_unregistered: false
  multicast_group_limit: 10000
  static_macs:
    - {mac: 02:00:5e:00:00:01, port: va}
    - mac: "02:00:5e:00:00:02"
      port: '12'
      vlan: 4094
flows: {
  max_idle: 1500ms,
  limit: 10000000,
  max_dump: 60s,
  stages: two,
  prime: false,
  static: [{match: "in_port(va),eth(dst=02:00:00:00:00:07)", actions: 'int0,"12"'}, {actions: drop, match: "recirc_id(0x1),in_port(vb)"}],
}
log: {level: error, format: console, stats_interval: 0, upcall_rate: 9/s}
control: {socket: off, group: "27", mode: 640, pprof: true}
...
`

func everyKeyConfig() *Config {
	return &Config{
		Datapath:      Datapath{Name: "br0", OnExit: OnExitDelete},
		Netns:         "/run/netns/blue",
		WaitForModule: true,
		Dispatch:      dpif.DispatchPerCPU,
		PortsUnlisted: UnlistedServe,
		LoopGuard:     LoopGuardBlock,
		Handlers:      1024,
		Ring: Ring{Mode: mmapring.ModeOff, TX: TXAuto, FrameSize: 16384, BlockSize: 131072, Blocks: 3,
			MemoryLimit: 1073741824},
		Socket: Socket{Rcvbuf: 536870912},
		Ports:  everyPort(),
		Policy: Policy{Type: "flood", MACAging: 90 * time.Minute, MACLimit: 1000000, SharedLearning: true,
			ForwardBPDU: true, MulticastSnooping: true, MulticastGroupLimit: 10000, StaticMACs: []forward.StaticMAC{
				{MAC: odp.MAC{2, 0, 0x5e, 0, 0, 1}, Port: "va"}, {MAC: odp.MAC{2, 0, 0x5e, 0, 0, 2}, Port: "12", VLAN: 4094},
			}},
		Flows: Flows{MaxIdle: 1500 * time.Millisecond, Limit: 10000000, MaxDump: time.Minute, Stages: StagesTwo,
			Static: []forward.StaticFlow{
				{Match: `in_port(va),eth(dst=02:00:00:00:00:07)`, Actions: `int0,"12"`},
				{Match: "recirc_id(0x1),in_port(vb)", Actions: "drop"},
			}},
		Log:     Log{Level: LevelError, Format: FormatConsole, UpcallRate: 9},
		Control: Control{Socket: ControlOff, Group: "27", Mode: 0o640, PProf: true},
	}
}

// unrestricted returns ports that may send anything, which is the default.
func unrestricted(ports ...Port) []Port {
	for i := range ports {
		ports[i].DHCPServer, ports[i].RouterAdvertisements = true, true
	}
	return ports
}

func everyPort() []Port {
	va := Port{Name: "va", Type: PortNetdev, MaxUpcalls: 2500, MulticastRouter: true, LoopGuard: LoopGuardLog,
		Allow: Allow{MACs: []odp.MAC{{2, 0, 0x5e, 0, 0, 3}}}}
	for _, s := range []string{"192.0.2.0/25", "192.0.2.200/32", "2001:db8::/32", "fe80::3/128"} {
		va.Allow.Addresses = append(va.Allow.Addresses, Source{netip.MustParsePrefix(s)})
	}
	return append([]Port{va}, unrestricted([]Port{
		{Name: "int0", Type: PortInternal, VLAN: forward.VLANConfig{Access: 4094}, Isolated: true, Group: "a", Up: true, MTU: 9000, MAC: odp.MAC{2, 0, 0x5e, 0, 0, 7}, MACLimit: 5, Storm: forward.StormConfig{Multicast: 7},
			Address: []Prefix{{netip.MustParsePrefix("10.0.0.1/24")}, {netip.MustParsePrefix("fd00::1/64")}}},
		{Name: "12", Type: PortNetdev, VLAN: forward.VLANConfig{Trunk: []forward.VLANRange{{First: 10, Last: 10}, {First: 20, Last: 29}, {First: 31, Last: 31}}, Native: 1}, Hairpin: true, MirrorTo: "vx0"},
		{Name: "vx0", Type: PortVXLAN, Tunnel: Tunnel{Remote: newAddr("192.0.2.1"), Local: newAddr("192.0.2.2"),
			Key: 42, DstPort: 8472, TTL: 3, TOS: TOSInherit, CSum: true}},
		{Name: "gre6", Type: PortGRE, Tunnel: Tunnel{Remote: newAddr("2001:db8::1"), Key: 1<<32 - 1, TOS: "184"}},
		{Match: "tap[0-9]*", Type: PortNetdev, VLAN: forward.VLANConfig{Access: 7}, MACLimit: 2, MirrorTo: "vx0"},
	}...)...)
}

func newAddr(s string) Addr { return Addr{netip.MustParseAddr(s)} }

func TestParse(t *testing.T) {
	edit := func(fn func(c *Config)) *Config {
		c := Default()
		fn(c)
		return c
	}
	tests := []struct {
		name, file string
		want       *Config
	}{
		{"nothing", "{}", Default()},
		{"nothing after a header", "--- {}\n", Default()},
		{"every key", everyKey, everyKeyConfig()},
		{"lower bounds", "handlers: 0\nring: {frame_size: 24B, block_size: 4096B, blocks: 1, memory_limit: 4KiB}\n" +
			"socket: {rcvbuf: 65536B}\npolicy: {mac_aging: 1s, mac_limit: 1}\nflows: {max_idle: 100ms, limit: 1, max_dump: 100ms}\nlog: {stats_interval: 100ms}",
			edit(func(c *Config) {
				c.Ring = Ring{Mode: mmapring.ModeAuto, TX: TXOff, FrameSize: 24, BlockSize: 4096, Blocks: 1, MemoryLimit: 4096}
				c.Socket.Rcvbuf = 65536
				c.Policy.MACAging, c.Policy.MACLimit = time.Second, 1
				c.Flows = Flows{MaxIdle: 100 * time.Millisecond, Limit: 1, MaxDump: 100 * time.Millisecond, Prime: true,
					Stages: StagesAuto, Static: []forward.StaticFlow{}}
				c.Log.StatsInterval = 100 * time.Millisecond
			})},
		{"a ring of just the limit", "ring: {blocks: 8192}", edit(func(c *Config) { c.Ring.Blocks = 8192 })},
		{"largest ring in 64 bits", "ring: {block_size: 1GiB, frame_size: 1GiB, blocks: 16, memory_limit: 16GiB}",
			edit(func(c *Config) {
				c.Ring = Ring{Mode: mmapring.ModeAuto, TX: TXOff, FrameSize: 1 << 30, BlockSize: 1 << 30, Blocks: 16,
					MemoryLimit: 1 << 34}
			})},
		{"off in quotes", "ring: {mode: 'off'}", edit(func(c *Config) { c.Ring.Mode = mmapring.ModeOff })},
		{"require", "ring: {mode: require}", edit(func(c *Config) { c.Ring.Mode = mmapring.ModeRequire })},
		{"name of 15 bytes", "datapath: {name: abcdefghijklmno}", edit(func(c *Config) { c.Datapath.Name = "abcdefghijklmno" })},
		{"name that YAML 1.1 takes for a boolean", "ports: [{name: no}]", edit(func(c *Config) { c.Ports = unrestricted(Port{Name: "no", Type: PortNetdev}) })},
		{"name with an inner hash", "ports: [{name: a#1}]", edit(func(c *Config) { c.Ports = unrestricted(Port{Name: "a#1", Type: PortNetdev}) })},
		{"port named as the default datapath, which has another name", "datapath: {name: x}\nports: [{name: dp0}]",
			edit(func(c *Config) { c.Datapath.Name, c.Ports = "x", unrestricted(Port{Name: "dp0", Type: PortNetdev}) })},
		{"no ports", "ports: []", Default()},
		{"namespace by name", "netns: blue", edit(func(c *Config) { c.Netns = "blue" })},
		{"Windows line ends", "\ufeffhandlers: 5\r\nnetns: a\r\n", edit(func(c *Config) { c.Handlers, c.Netns = 5, "a" })},
		{"bytes in a comment", "handlers: 7 #\ttab, ü\n", edit(func(c *Config) { c.Handlers = 7 })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse("f.yaml", []byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("Config (-want +got):\n%s", d)
			}
			again, err := Parse("effective", got.Effective())
			if err != nil {
				t.Fatalf("Effective is rejected: %v", err)
			}
			if d := cmp.Diff(got, again); d != "" {
				t.Errorf("Effective (-first +second):\n%s", d)
			}
		})
	}
}

// TestEveryKey checks that everyKey changes each key.
func TestEveryKey(t *testing.T) {
	c, def := reflect.ValueOf(*everyKeyConfig()), reflect.ValueOf(*Default())
	var compare func(path string, a, b reflect.Value)
	compare = func(path string, a, b reflect.Value) {
		for f, v := range a.Fields() {
			w := b.FieldByIndex(f.Index)
			if v.Kind() == reflect.Struct {
				compare(path+f.Name+".", v, w)
			} else if reflect.DeepEqual(v.Interface(), w.Interface()) {
				t.Errorf("%s%s has its default, %v", path, f.Name, v)
			}
		}
	}
	compare("", c, def)
}

func TestEffective(t *testing.T) {
	c := everyKeyConfig()
	c.Ports = slices.Delete(c.Ports[1:], 3, 4)
	c.Ring.FrameSize = 2564
	const want = `datapath:
  name: "br0"
  create: false
  on_exit: delete
netns: "/run/netns/blue"
wait_for_module: true
dispatch: per-cpu
handlers: 1024
ring:
  mode: off
  tx: auto
  frame_size: 2564B
  block_size: 128KiB
  blocks: 3
  memory_limit: 1GiB
socket:
  rcvbuf: 512MiB
ports:
  - name: "int0"
    type: internal
    vlan:
      access: 4094
    isolated: true
    group: "a"
    hairpin: false
    mac_limit: 5
    storm:
      multicast: 7/s
    max_upcalls: 0
    address: [10.0.0.1/24, "fd00::1/64"]
    up: true
    mtu: 9000
    mac: "02:00:5e:00:00:07"
    dhcp_server: true
    router_advertisements: true
    multicast_router: false
  - name: "12"
    type: netdev
    vlan:
      trunk: [10, 20-29, 31]
      native: 1
    isolated: false
    hairpin: true
    mac_limit: 0
    max_upcalls: 0
    mirror_to: "vx0"
    dhcp_server: true
    router_advertisements: true
    multicast_router: false
  - name: "vx0"
    type: vxlan
    isolated: false
    hairpin: false
    mac_limit: 0
    max_upcalls: 0
    tunnel:
      remote: 192.0.2.1
      local: 192.0.2.2
      key: 42
      dst_port: 8472
      ttl: 3
      tos: inherit
      csum: true
    dhcp_server: true
    router_advertisements: true
    multicast_router: false
  - match: "tap[0-9]*"
    type: netdev
    vlan:
      access: 7
    isolated: false
    hairpin: false
    mac_limit: 2
    max_upcalls: 0
    mirror_to: "vx0"
    dhcp_server: true
    router_advertisements: true
    multicast_router: false
ports_unlisted: serve
loop_guard: block
policy:
  type: flood
  mac_aging: 1h30m
  mac_limit: 1000000
  shared_learning: true
  forward_bpdu: true
  multicast_snooping: true
  multicast_flood_unregistered: false
  multicast_group_limit: 10000
  static_macs:
    - mac: "02:00:5e:00:00:01"
      port: "va"
    - mac: "02:00:5e:00:00:02"
      port: "12"
      vlan: 4094
flows:
  max_idle: 1.5s
  limit: 10000000
  max_dump: 1m
  prime: false
  stages: two
  static:
    - match: "in_port(va),eth(dst=02:00:00:00:00:07)"
      actions: "int0,\"12\""
    - match: "recirc_id(0x1),in_port(vb)"
      actions: "drop"
log:
  level: error
  format: console
  stats_interval: 0s
  upcall_rate: 9/s
control:
  socket: "off"
  group: "27"
  mode: 0640
  pprof: true
`
	if d := cmp.Diff(want, string(c.Effective())); d != "" {
		t.Errorf("Effective (-want +got):\n%s", d)
	}
}

func TestClone(t *testing.T) {
	c := everyKeyConfig()
	d := c.Clone()
	if diff := cmp.Diff(c, d); diff != "" {
		t.Errorf("Clone differs:\n%s", diff)
	}
	d.Ports[0].Name, d.Ports[2].VLAN.Trunk[0].First = "other", 9
	if c.Ports[0].Name != "va" || c.Ports[2].VLAN.Trunk[0].First != 10 {
		t.Error("Clone shares its ports")
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", "handlers: 6\n", 0o600)
	link := filepath.Join(dir, "link.yaml")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{good, link} {
		c, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.Handlers != 6 {
			t.Errorf("Load(%s): handlers %d, want 6", path, c.Handlers)
		}
	}
	full := "handlers: 6 #"
	if c, err := Load(write("full.yaml", full+strings.Repeat("x", maxFile-len(full)), 0o600)); err != nil ||
		c.Handlers != 6 {
		t.Errorf("Load of a file of the maximum size: %v", err)
	}

	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path, want string
		is               error
	}{
		{"missing", filepath.Join(dir, "none.yaml"), ": cannot open: no such file or directory", fs.ErrNotExist},
		{"no name", "", ": cannot open: no such file or directory", fs.ErrNotExist},
		{"directory", dir, ": not a file: is a directory", syscall.EISDIR},
		{"below a file", filepath.Join(good, "x"), ": cannot open: not a directory", syscall.ENOTDIR},
		{"link to itself", loop, ": cannot open: too many levels of symbolic links", syscall.ELOOP},
		{"named pipe, without waiting for a writer", fifo, ": not a regular file", nil},
		{"device", os.DevNull, ": not a regular file", nil},
		{"unreadable by anyone", "/proc/self/mem", ": cannot read: input/output error", syscall.EIO},
		{"too large", write("large.yaml", "{}"+strings.Repeat("\n", maxFile), 0o600), ": larger than 1048576 bytes", nil},
		{"wrong", write("wrong.yaml", "handlers: [\n", 0o600), ":1:11: not YAML: sequence end token ']' not found", nil},
	}
	if os.Geteuid() != 0 {
		tests = append(tests, struct {
			name, path, want string
			is               error
		}{"unreadable", write("secret.yaml", "{}", 0), ": cannot open: permission denied", fs.ErrPermission})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.path)
			if c != nil || err == nil {
				t.Fatalf("Load = %v, %v; want an error", c, err)
			}
			first, _, _ := strings.Cut(err.Error(), "\n")
			if first != tt.path+tt.want {
				t.Errorf("error %q, want %q", first, tt.path+tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v does not match %v", err, tt.is)
			}
			var e *Error
			if !errors.As(err, &e) || e.File != tt.path {
				t.Errorf("error is no *Error about %s: %#v", tt.path, err)
			}
		})
	}
}

// TestTags reads the bounds in the schema, and checks each default against them.
func TestTags(t *testing.T) {
	c := Default()
	c.Ports = append(c.Ports, defaultPort())
	c.Ports[0].Name = "x"
	if _, err := Parse("default", c.Effective()); err != nil {
		t.Errorf("the defaults are rejected: %v", err)
	}
	bounded := 0
	walkKeys(reflect.TypeFor[Config](), "", func(path string, f reflect.StructField) {
		if f.Tag.Get("yaml") == "" {
			t.Errorf("field %s has no tag yaml", f.Name)
		}
		isEnum := f.Type.Implements(reflect.TypeFor[enum]())
		switch k := f.Type.Kind(); {
		case isScalar(f.Type):
			return
		case k == reflect.Struct || k == reflect.Slice || k == reflect.Bool || k == reflect.String:
			if isEnum != (k == reflect.String && f.Type.Name() != "string" && !isScalar(f.Type)) {
				t.Errorf("%s: enum %v for a %s", path, isEnum, f.Type)
			}
			return
		}
		bounded++
		switch {
		case f.Type == durationType:
			inRange(0, f.Tag, parseDuration)
		case f.Tag.Get("unit") == "bytes":
			inRange(0, f.Tag, parseSize)
		case f.Tag.Get("unit") == "mode":
			inRange(0, f.Tag, parseMode)
		case f.Tag.Get("unit") == "rate":
			inRange(0, f.Tag, parseRate)
		default:
			inRange(0, f.Tag, parseInt)
		}
	})
	if bounded == 0 {
		t.Error("no key has bounds")
	}
}

// TestManyPorts: the parser's limits allow many ports.
func TestManyPorts(t *testing.T) {
	const n = 6000
	var b strings.Builder
	b.WriteString("ports:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: port%d\n    type: internal\n", i)
	}
	c, err := Parse("f", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ports) != n {
		t.Fatalf("%d ports", len(c.Ports))
	}
	if diff := cmp.Diff(unrestricted(Port{Name: "port5999", Type: PortInternal}), c.Ports[n-1:]); diff != "" {
		t.Errorf("the last port (-want +got):\n%s", diff)
	}
}
