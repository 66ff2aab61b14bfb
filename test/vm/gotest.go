package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// labPackage is a Go package with test files that have the build tag lab.
type labPackage struct {
	path, dir string
	tests     []string // names of the tests in those files
}

// named reports whether name, such as ./test/kernel, names the package.
func (p labPackage) named(name string) bool {
	relative, ok := strings.CutPrefix(name, ".")
	return name == p.path || ok && strings.HasSuffix(p.path, relative)
}

// goList holds the fields used from `go list -json`.
type goList struct {
	ImportPath, Dir           string
	TestGoFiles, XTestGoFiles []string
}

// labPackages finds packages with test files that need the build tag lab or, in a VM with systemd,
// those with files that also need the tag systemd.
func labPackages(ctx context.Context, patterns []string, systemd bool) ([]labPackage, error) {
	list := func(tags string) (map[string]goList, error) {
		args := append([]string{"list", "-e", "-tags", tags, "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles"}, patterns...)
		out, err := output(ctx, exec.CommandContext(ctx, "go", args...))
		if err != nil {
			return nil, err
		}
		found := make(map[string]goList)
		for d := json.NewDecoder(strings.NewReader(out)); ; {
			var p goList
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				return found, nil
			} else if err != nil {
				return nil, err
			}
			found[p.ImportPath] = p
		}
	}
	without, with := "", labTags(systemd)
	if systemd {
		without = labTags(false)
	}
	plain, err := list(without)
	if err != nil {
		return nil, err
	}
	tagged, err := list(with)
	if err != nil {
		return nil, err
	}
	var packages []labPackage
	for path, p := range tagged {
		known := append(plain[path].TestGoFiles, plain[path].XTestGoFiles...)
		found := labPackage{path: path, dir: p.Dir}
		for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
			if slices.Contains(known, name) {
				continue
			}
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			found.tests = append(found.tests, testNames(src)...)
		}
		if len(found.tests) > 0 {
			packages = append(packages, found)
		}
	}
	slices.SortFunc(packages, func(a, b labPackage) int { return cmp.Compare(a.path, b.path) })
	return packages, nil
}

// labTags are the build tags of the tests in a VM.
func labTags(systemd bool) string {
	if systemd {
		return "lab,systemd"
	}
	return "lab"
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w*)\((\w+) \*testing\.T\)`)

// testNames returns the names of the tests in a gofmt-formatted Go file.
func testNames(src []byte) []string {
	var names []string
	for _, m := range testFunc.FindAllSubmatch(src, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// timerSlack lets timers of tests and of what they start be 1 ms late. The Go runtime sleeps for 20 µs
// again and again while a program is busy, and each of these timers costs an emulated CPU several
// times that: a quarter of what long tests used.
const timerSlack = "echo 1000000 >/proc/$$/timerslack_ns\n"

// test runs the lab tests of packages, all in one VM, and reports in the format of `go test`.
func (l *lab) test(ctx context.Context, o options, patterns []string) (int, error) {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	o.tests = true
	packages, err := labPackages(ctx, patterns, o.systemd)
	if err != nil {
		return exitLab, err
	}
	if len(packages) == 0 {
		return exitLab, fmt.Errorf("no package has tests with build tags %s", labTags(o.systemd))
	}
	if i := slices.IndexFunc(packages, func(p labPackage) bool { return p.named(o.last) }); i >= 0 {
		last := packages[i]
		packages = append(slices.Delete(packages, i, i+1), last)
	}
	also, err := o.also.pairs("also")
	if err != nil {
		return exitLab, err
	}
	for _, a := range also {
		if !slices.ContainsFunc(packages, func(p labPackage) bool { return p.named(a[0]) }) {
			return exitLab, fmt.Errorf("-also %s: no such package is tested", a[0])
		}
	}
	s := &summary{out: os.Stdout, mark: "lab-test-" + rand.Text()}
	var script, more bytes.Buffer
	script.WriteString(timerSlack)
	for i, p := range packages {
		progress("compiling tests of %s", p.path)
		name := fmt.Sprintf("/lab/test%d", i)
		binary := filepath.Join(l.tmp, filepath.Base(name))
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", labTags(o.systemd), "-o", binary, p.path)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if _, err := output(ctx, cmd); err != nil {
			return exitLab, err
		}
		o.add = append(o.add, binary+":"+name)
		// As under go test, the working directory is the package's, so that testdata is found.
		dir := "/lab/src/" + p.path
		testdata := filepath.Join(p.dir, "testdata")
		if _, err := os.Stat(testdata); err == nil {
			o.add = append(o.add, testdata+":"+dir+"/testdata")
		}
		run := o.testRun
		if run == "" {
			run = "^(" + strings.Join(p.tests, "|") + ")$"
		}
		argv := []string{name, "-test.v", "-test.run=" + run, "-test.skip=" + o.testSkip,
			"-test.count=" + strconv.Itoa(o.testCount), "-test.parallel=" + strconv.Itoa(o.testParallel),
			"-test.timeout=" + o.timeout.String()}
		s.run(&script, p.path, "mkdir -p "+quote(dir)+" && cd "+quote(dir), quote(argv...))
		for _, a := range also {
			if p.named(a[0]) {
				again := append(append([]string{"env", a[1]}, argv...), "-test.skip="+o.alsoSkip)
				s.run(&more, p.path+"["+a[1]+"]", "cd "+quote(dir), quote(again...))
			}
		}
	}
	_, _ = more.WriteTo(&script) // a bytes.Buffer accepts all
	if o.then != "" {
		s.run(&script, strings.ReplaceAll(o.then, " ", "_"), "cd /root", o.then)
	}
	file := filepath.Join(l.tmp, "tests.sh")
	if err := os.WriteFile(file, script.Bytes(), 0o644); err != nil {
		return exitLab, err
	}
	o.add = append(o.add, file+":/lab/tests.sh")
	code, err := l.run(ctx, o, []string{"sh", "/lab/tests.sh"}, s)
	passed := s.close()
	if err == nil && !passed {
		code = 1
	}
	return code, err
}
