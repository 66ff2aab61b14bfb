package genl

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	vishvananda "github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"dpifd/internal/netlink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T) *netlink.Conn {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestResolveAgainstOracle compares all families of this kernel with the results of another
// library.
func TestResolveAgainstOracle(t *testing.T) {
	c := dial(t)
	families, err := vishvananda.GenlFamilyList()
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, o := range families {
		seen = seen || o.Name == "nlctrl"
		want := Family{Name: o.Name, ID: o.ID, Version: uint8(o.Version), Groups: map[string]uint32{}}
		for _, g := range o.Groups {
			want.Groups[g.Name] = g.ID
		}
		got, err := Resolve(c, o.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("family %s (-oracle +ours):\n%s", o.Name, diff)
		}
	}
	if !seen {
		t.Errorf("no nlctrl among the %d families", len(families))
	}
	f, err := Resolve(c, "nlctrl")
	if err != nil || f.ID != unix.GENL_ID_CTRL || f.Groups["notify"] == 0 {
		t.Errorf("nlctrl: %+v, %v", f, err)
	}
}

func TestResolveNotFound(t *testing.T) {
	c := dial(t)
	_, err := Resolve(c, "no_such_family")
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "no_such_family") {
		t.Errorf("error %v, want ErrNotFound with the name", err)
	}
	_, err = Resolve(c, "a name that exceeds GENL_NAMSIZ")
	if err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want the kernel's refusal of the name", err)
	}
}

func TestHeader(t *testing.T) {
	var e netlink.Encoder
	e.Begin(0x20, 0)
	AppendHeader(&e, 7, 2)
	e.Uint8(1, 9)
	e.End()
	_, payload, _, err := netlink.SplitMessage(e.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	cmd, version, rest, err := ParseHeader(payload)
	if cmd != 7 || version != 2 || err != nil || !slices.Equal(rest, payload[4:]) || len(rest) != 8 {
		t.Errorf("command %d, version %d, %d bytes, %v", cmd, version, len(rest), err)
	}
	for n := range 4 {
		if _, _, _, err := ParseHeader(payload[:n]); !errors.Is(err, netlink.ErrMalformed) {
			t.Errorf("%d bytes: %v, want ErrMalformed", n, err)
		}
	}
}

// family encodes an answer to GETFAMILY.
func family(fn func(e *netlink.Encoder)) []byte {
	var e netlink.Encoder
	e.Raw(unix.CTRL_CMD_NEWFAMILY, 2, 0, 0)
	fn(&e)
	return e.Bytes()
}

func group(name string, id uint32) func(e *netlink.Encoder) {
	return func(e *netlink.Encoder) {
		e.Nested(unix.CTRL_ATTR_MCAST_GROUPS, func(e *netlink.Encoder) {
			e.Nested(1, func(e *netlink.Encoder) {
				e.Uint32(unix.CTRL_ATTR_MCAST_GRP_ID, id)
				e.String(unix.CTRL_ATTR_MCAST_GRP_NAME, name)
			})
		})
	}
}

func TestParseFamily(t *testing.T) {
	id := func(e *netlink.Encoder) { e.Uint16(unix.CTRL_ATTR_FAMILY_ID, 0x1f) }
	tests := map[string]struct {
		in   []byte
		want *Family // nil: ErrMalformed
	}{
		"all": {family(func(e *netlink.Encoder) {
			e.String(unix.CTRL_ATTR_FAMILY_NAME, "ovs_flow")
			id(e)
			e.Uint32(unix.CTRL_ATTR_VERSION, 1)
			e.Uint32(unix.CTRL_ATTR_HDRSIZE, 4)
			e.Uint32(unix.CTRL_ATTR_MAXATTR, 12)
			e.Uint32(4000, 1) // of a later kernel
			group("ovs_flow", 5)(e)
		}), &Family{"ovs_flow", 0x1f, 1, map[string]uint32{"ovs_flow": 5}}},
		"version beyond 8 bits": {family(func(e *netlink.Encoder) { id(e); e.Uint32(unix.CTRL_ATTR_VERSION, 256) }),
			&Family{ID: 0x1f, Groups: map[string]uint32{}}},
		"no id":              {family(func(e *netlink.Encoder) { e.String(unix.CTRL_ATTR_FAMILY_NAME, "x") }), nil},
		"id of control":      {family(func(e *netlink.Encoder) { e.Uint16(unix.CTRL_ATTR_FAMILY_ID, 3) }), nil},
		"id of another size": {family(func(e *netlink.Encoder) { e.Uint32(unix.CTRL_ATTR_FAMILY_ID, 0x1f) }), nil},
		"group without name": {family(func(e *netlink.Encoder) { id(e); group("", 5)(e) }), nil},
		"group without id":   {family(func(e *netlink.Encoder) { id(e); group("x", 0)(e) }), nil},
		"group cut off": {family(func(e *netlink.Encoder) {
			id(e)
			e.Attr(unix.CTRL_ATTR_MCAST_GROUPS, []byte{20, 0, 1, 0})
		}), nil},
		"cut off":   {family(id)[:9], nil},
		"no header": {[]byte{1, 2}, nil},
		"empty":     {nil, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseFamily(tt.in)
			if tt.want == nil {
				if !errors.Is(err, netlink.ErrMalformed) {
					t.Errorf("%+v, %v; want ErrMalformed", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(*tt.want, got); diff != "" {
				t.Errorf("family (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseFamily(f *testing.F) {
	f.Add(family(func(e *netlink.Encoder) { e.Uint16(unix.CTRL_ATTR_FAMILY_ID, 0x1f); group("g", 3)(e) }))
	f.Add([]byte{1, 2, 0, 0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFamily(b)
		if err == nil && got.ID < unix.NLMSG_MIN_TYPE {
			t.Errorf("family %+v accepted", got)
		}
		if err != nil && !errors.Is(err, netlink.ErrMalformed) {
			t.Errorf("error %v", err)
		}
	})
}

// modprobe replaces modprobe by a script.
func modprobe(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "modprobe"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	return dir
}

func TestLoadModule(t *testing.T) {
	dir := modprobe(t, `echo "$#:$1" >>"$(dirname "$0")/calls"`)
	if err := LoadModule(t.Context(), "openvswitch"); err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if string(calls) != "1:openvswitch\n" || err != nil {
		t.Errorf("called %q, %v; want once with the module's name", calls, err)
	}
}

func TestLoadModuleFails(t *testing.T) {
	modprobe(t, `echo "modprobe: FATAL: Module $1 not" >&2; echo "found in directory /lib/modules/6.1" >&2; exit 1`)
	err := LoadModule(t.Context(), "openvswitch")
	if err == nil || !strings.Contains(err.Error(), "FATAL: Module openvswitch not found in directory /lib/modules/6.1") {
		t.Errorf("error %v, want what modprobe printed", err)
	}

	modprobe(t, "exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := LoadModule(ctx, "openvswitch"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}

	for _, name := range []string{"", "-r", "--show-depends"} {
		if err := LoadModule(t.Context(), name); err == nil {
			t.Errorf("module name %q is accepted", name)
		}
	}

	t.Setenv("PATH", t.TempDir())
	tools := moduleTools
	defer func() { moduleTools = tools }()
	moduleTools = []string{filepath.Join(t.TempDir(), "modprobe")}
	if err := LoadModule(t.Context(), "openvswitch"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("no modprobe anywhere: %v, want ErrNotFound", err)
	}
	moduleTools = append(moduleTools, "/bin/true")
	if err := LoadModule(t.Context(), "openvswitch"); err != nil {
		t.Errorf("modprobe outside of PATH: %v", err)
	}
}
