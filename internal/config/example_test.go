package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/forward"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

const (
	examplePath = "../../configs/dpifd.yaml"
	docPath     = "../../docs/CONFIGURATION.md"
)

// TestExample: the example sets every key to its default.
func TestExample(t *testing.T) {
	c, err := Load(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), c); d != "" {
		t.Errorf("the example is not the defaults (-default +example):\n%s", d)
	}
	d := decodeFile(t, examplePath)
	walkKeys(reflect.TypeFor[Config](), "", func(path string, _ reflect.StructField) {
		if _, set := d.at[path]; !set && !strings.Contains(path, "[]") {
			t.Errorf("the example does not set %s", path)
		}
	})
}

// TestExamples: each file next to the example is accepted.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(examplePath), "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, file := range files {
		if _, err := Load(file); err != nil {
			t.Error(err)
		}
	}
}

// TestExamplePorts: the commented ports of the example, in place of the line that they end with,
// are valid and have every key of a port.
func TestExamplePorts(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "\nports: []\n", "\n", 1)
	text = regexp.MustCompile(`(?m)^#   (ports:|  - |    [a-z_]+: )`).ReplaceAllString(text, "$1")
	c, err := Parse("example", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	examplePorts := unrestricted([]Port{
		{Name: "eth1", Type: PortNetdev, MirrorTo: "eth7"},
		{Name: "int0", Type: PortInternal, Address: []Prefix{{netip.MustParsePrefix("10.0.0.1/24")}}, Up: true, MTU: 1450, MAC: odp.MAC{2, 0, 0x5e, 0, 0, 9}},
		{Name: "eth2", Type: PortNetdev, VLAN: forward.VLANConfig{Access: 10}, Isolated: true, Group: "guests"},
		{Name: "eth3", Type: PortNetdev, VLAN: forward.VLANConfig{Trunk: []forward.VLANRange{{First: 10, Last: 10}, {First: 20, Last: 29}}, Native: 1}, Hairpin: true},
		{Name: "eth4", Type: PortNetdev, MaxUpcalls: 2000},
		{Name: "vx0", Type: PortVXLAN, Tunnel: Tunnel{Remote: newAddr("192.0.2.1"), Key: 42}},
		{Match: "tap*", Type: PortNetdev, VLAN: forward.VLANConfig{Access: 20}},
		{Name: "eth5", Type: PortNetdev, MACLimit: 4, Storm: forward.StormConfig{Broadcast: 100, UnknownUnicast: 500}},
		{Name: "eth6", Type: PortNetdev, Allow: Allow{MACs: []odp.MAC{{2, 0, 0x5e, 0, 0, 6}},
			Addresses: []Source{{netip.MustParsePrefix("192.0.2.6/32")}, {netip.MustParsePrefix("2001:db8::/64")}}}},
		{Name: "eth7", Type: PortNetdev},
	}...)
	guest := &examplePorts[len(examplePorts)-2]
	guest.DHCPServer, guest.RouterAdvertisements = false, false
	examplePorts[4].MulticastRouter = true
	if d := cmp.Diff(examplePorts, c.Ports); d != "" {
		t.Errorf("ports of the example (-want +got):\n%s", d)
	}
	for f := range reflect.TypeFor[Port]().Fields() {
		if key := f.Tag.Get("yaml") + ":"; !strings.Contains(text, key) {
			t.Errorf("the example shows no %s of a port", key)
		}
	}
}

// decodeFile returns the decoder of an accepted file.
func decodeFile(t *testing.T, path string) *decoder {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := decode(path, data)
	if err := d.err(); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocument: the table in docs/CONFIGURATION.md lists each key in the order of the struct, with
// its type, default and limits.
func TestDocument(t *testing.T) {
	data, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 5 || cells[4] == "" {
			t.Errorf("row without five cells or a meaning: %s", line)
			continue
		}
		got = append(got, cells[:4])
	}
	var want [][]string
	i := 0
	walkKeys(reflect.TypeFor[Config](), "", func(path string, f reflect.StructField) {
		row := documented(path, f)
		// Limits that are not in tags are described in words.
		if row[3] == "" && i < len(got) && slices.Contains([]string{"string", "address", "word", "list"}, row[1]) {
			row[3] = got[i][3]
			if row[3] == "" {
				t.Errorf("%s has no limits", path)
			}
		}
		want = append(want, row)
		i++
	})
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("table of %s (-struct +table):\n%s", docPath, d)
	}
}

// documented returns key, type, default and limits for a row of the table.
func documented(path string, f reflect.StructField) []string {
	name, limits := typeName(f), ""
	if low := f.Tag.Get("min"); low != "" {
		limits = low + " to " + f.Tag.Get("max")
		if z := f.Tag.Get("zero"); z != "" {
			limits += ", 0 for " + z
		}
	}
	v := reflect.ValueOf(*Default())
	rest, ofPort := strings.CutPrefix(path, "ports[].")
	if ofPort {
		v = reflect.ValueOf(defaultPort())
	}
	rest, ofFlow := strings.CutPrefix(rest, "flows.static[].")
	if ofFlow {
		v = reflect.ValueOf(forward.StaticFlow{})
	}
	rest, ofMAC := strings.CutPrefix(rest, "policy.static_macs[].")
	if ofMAC {
		v = reflect.ValueOf(forward.StaticMAC{})
	}
	for key := range strings.SplitSeq(rest, ".") {
		field, _ := fieldByKey(v.Type(), key)
		v = v.FieldByIndex(field.Index)
	}
	def := ""
	switch {
	case path == "ports[].tunnel.remote":
		def = "required of tunnels"
	case path == "ports[].name":
		def = "required, or `match`"
	case isMapping(v.Type()) && f.Tag.Get("optional") == "":
	case f.Tag.Get("optional") != "":
		def = "none"
	case ofFlow || ofMAC:
		def = "required"
	case v.Kind() == reflect.Slice:
		def = "`[]`"
	case v.Type() == reflect.TypeFor[string]() && v.String() != "":
		def = "`" + v.String() + "`"
	default:
		def = "`" + formatScalar(v, f.Tag) + "`"
	}
	if e, ok := v.Interface().(enum); ok {
		limits = "`" + strings.Join(e.Values(), "`, `") + "`"
	}
	return []string{"`" + path + "`", name, def, limits}
}

func typeName(f reflect.StructField) string {
	switch {
	case f.Type.Implements(reflect.TypeFor[enum]()) || f.Type == reflect.TypeFor[TOS]():
		return "word"
	case f.Type == reflect.TypeFor[Addr]():
		return "address"
	case f.Type == reflect.TypeFor[odp.MAC]():
		return "MAC"
	case f.Type == durationType:
		return "duration"
	case f.Tag.Get("unit") == "bytes":
		return "size"
	case f.Tag.Get("unit") == "mode":
		return "mode"
	case f.Tag.Get("unit") == "rate":
		return "rate"
	case f.Type.Kind() == reflect.Struct:
		return "mapping"
	case f.Type.Kind() == reflect.Slice:
		return "list"
	case f.Type.Kind() == reflect.Bool:
		return "boolean"
	case f.Type.Kind() == reflect.String:
		return "string"
	case slices.Contains([]reflect.Kind{reflect.Int, reflect.Uint16, reflect.Uint32}, f.Type.Kind()):
		return "integer"
	}
	return fmt.Sprint(f.Type)
}

// TestDocumentError: the error shown in the document is the actual one.
func TestDocumentError(t *testing.T) {
	data, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)\n\n```\n(/etc.*?)\n```").FindSubmatch(data)
	if shown == nil {
		t.Fatal("no error is shown")
	}
	file := strings.Repeat("#\n", 7) + "ring:\n  frame_size: 2560\n  blocks: 64\n"
	if _, err := Parse("/etc/dpifd/dpifd.yaml", []byte(file)); err == nil || err.Error() != string(shown[1]) {
		t.Errorf("error is\n%v\nbut the document shows\n%s", err, shown[1])
	}
}
