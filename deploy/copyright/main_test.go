package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
)

// TestEveryModuleHasALicence runs the program on dpifd's modules.
func TestEveryModuleHasALicence(t *testing.T) {
	var b bytes.Buffer
	if err := run(&b); err != nil {
		t.Fatal(err)
	}
	modules, err := linked("dpifd/cmd/dpifd")
	if err != nil {
		t.Fatal(err)
	}
	// At least the modules for the command line, the log and the configuration.
	if len(modules) < 5 {
		t.Fatalf("only %v", modules)
	}
	stanzas := strings.Split(b.String(), "\n\n")
	if len(stanzas) != len(modules)+2 {
		t.Errorf("%d stanzas for %d modules", len(stanzas), len(modules))
	}
	// Copyright-format 1.0: a line is a field or continues one, and a Files stanza has three
	// required fields.
	line := regexp.MustCompile(`^([A-Z][A-Za-z-]*: \S.*| \S.*|  +\S.*)$`)
	for i, s := range stanzas[1:] {
		for l := range strings.Lines(s) {
			if l = strings.TrimSuffix(l, "\n"); !line.MatchString(l) {
				t.Errorf("stanza %d: %q is not a valid line", i, l)
			}
		}
		for _, field := range []string{"Files: ", "\nCopyright: ", "\nLicense: "} {
			if !strings.Contains(s, field) {
				t.Errorf("no %q in:\n%s", field, s)
			}
		}
	}
}

func TestLicenceIsRequired(t *testing.T) {
	if err := stanza(io.Discard, module{"example.com/m", "v1.0.0", t.TempDir()}); err == nil ||
		!strings.Contains(err.Error(), "example.com/m v1.0.0") {
		t.Errorf("a module without licence gives %v", err)
	}
}
