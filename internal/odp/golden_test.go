package odp

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "regenerate testdata/attributes.txt")

// goldenFile has texts and their encodings on a little endian machine. The kernel tests compare the
// same kinds of texts with what ovs-dpctl sends to the kernel.
const goldenFile = "testdata/attributes.txt"

func shown(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return hex.EncodeToString(b)
}

// encodings returns the encodings of all test texts.
func encodings(t *testing.T) []string {
	t.Helper()
	var lines []string
	for _, tt := range keyTests {
		key, mask, err := ports.ParseKey(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("key %q\n%s\n%s\n", tt.in, shown(key), shown(mask)))
	}
	for _, tt := range actionTests {
		actions, err := ports.ParseActions(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("actions %q\n%s\n", tt.in, shown(actions)))
	}
	return lines
}

// TestEncoding compares encodings with the golden file: parsing and printing alone would not detect
// two swapped fields.
func TestEncoding(t *testing.T) {
	if !littleEndian {
		t.Skip("the file was written on a little endian machine")
	}
	got := encodings(t)
	if *update {
		if err := os.WriteFile(goldenFile, []byte(strings.Join(got, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(file), strings.Join(got, "\n")); diff != "" {
		t.Errorf("%s (-file +code):\n%s", goldenFile, diff)
	}
}
