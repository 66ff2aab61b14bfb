// Command copyright writes the licences of dpifd and of the linked Go modules in Debian's
// machine-readable format (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/). The
// list of modules and the texts come from the go command, so they are always current.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "copyright:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	modules, err := linked("dpifd/cmd/dpifd")
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, head)
	for _, m := range modules {
		if err != nil {
			return err
		}
		err = stanza(out, m)
	}
	return err
}

// head covers dpifd itself. Debian's packages refer to the licence text installed on each system.
const head = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: dpifd
Comment: dpifd is one static program. It contains the Go modules that are
 listed below, and Go's standard library.

Files: *
Copyright: the dpifd authors
License: Apache-2.0
 Licensed under the Apache License, Version 2.0. On Debian systems the text is
 in /usr/share/common-licenses/Apache-2.0.
`

// module is a module as listed by the go command.
type module struct {
	Path, Version, Dir string
}

// linked returns the modules that a program is built from, except its own, sorted by path. Go's
// standard library comes last.
func linked(program string) ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Module", program)
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, errs.Bytes())
	}
	var out []module
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var p struct{ Module *module }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if p.Module != nil && p.Module.Version != "" && !slices.Contains(out, *p.Module) {
			out = append(out, *p.Module)
		}
	}
	slices.SortFunc(out, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	env, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	root, version, _ := strings.Cut(strings.TrimSpace(string(env)), "\n")
	return append(out, module{"std", version, root}), nil
}

// texts returns the contents of the files at a module's root whose names match the patterns.
func texts(m module, patterns ...string) (string, error) {
	var text []byte
	for _, pattern := range patterns {
		names, err := fs.Glob(os.DirFS(m.Dir), pattern)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(m.Dir, name))
			if err != nil {
				return "", err
			}
			text = append(append(text, data...), '\n')
		}
	}
	return string(text), nil
}

// apache matches the beginning of the Apache License.
var apache = regexp.MustCompile(`^\s*Apache License\s+Version 2\.0, January 2004`)

// stanza writes one module's entry: its licence, and the notice that the Apache License requires.
func stanza(out io.Writer, m module) error {
	licence, err := texts(m, "LICEN[SC]E*", "COPYING*")
	if err != nil {
		return err
	}
	if licence == "" {
		return fmt.Errorf("module %s %s has no licence file", m.Path, m.Version)
	}
	notice, err := texts(m, "NOTICE*")
	if err != nil {
		return err
	}
	name := strings.ReplaceAll(m.Path, "/", "-")
	whose := holders(licence + notice)
	if apache.MatchString(licence) {
		name, licence = "Apache-2.0", "The text is in /usr/share/common-licenses/Apache-2.0."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nFiles: %s\nComment: version %s\nCopyright: %s\nLicense: %s\n", m.Path, m.Version, whose, name)
	for line := range strings.Lines(strings.TrimSpace(licence + "\n" + notice)) {
		if line = strings.TrimRight(line, " \r\n\f"); line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// holders returns the copyright lines of a licence.
func holders(text string) string {
	var found []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(line, "Copyright ")
		if ok && !strings.Contains(rest, "[yyyy]") && strings.ContainsAny(rest, "0123456789") {
			found = append(found, strings.TrimSpace(strings.TrimPrefix(rest, "(c)")))
		}
	}
	if found == nil {
		return "the authors of the module"
	}
	return strings.Join(slices.Compact(found), "\n ")
}
