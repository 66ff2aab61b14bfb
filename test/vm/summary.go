package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// summary passes on the output of test binaries, line by line, and collects the results for the
// end.
type summary struct {
	out  io.Writer
	mark string // begins the lines that name the running package

	packages []*packageResult
	running  *packageResult
	test     string              // the test that writes at the moment
	said     map[string][]string // log lines of each test in the running package
}

type packageResult struct {
	path                    string
	passed, failed, skipped int // tests, not counting subtests
	notes                   []string
	started                 time.Time
	took                    time.Duration
	state                   string // "" until it began, then running, ok, FAIL
}

func (s *summary) expect(path string) {
	s.packages = append(s.packages, &packageResult{path: path})
}

// run appends a run of a test binary, or of another program, to a script, between lines with the
// mark. The path must not contain spaces.
func (s *summary) run(script io.Writer, path, before, command string) {
	s.expect(path)
	fmt.Fprintf(script, "%s\necho %s begin %s\n%s\necho %s end %s $?\n",
		before, s.mark, quote(path), command, s.mark, quote(path))
}

var (
	nowRunning = regexp.MustCompile(`^=== (?:RUN|CONT|NAME)\s+(\S*)$`)
	verdict    = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+) \(`)
	logLine    = regexp.MustCompile(`^ +\S+\.go:\d+: (.*)$`)
)

// progressNote begins what a test prints when it starts to wait (lab.Daemon.Wait), which is not an
// error.
const progressNote = "waiting for "

// Write receives one line.
func (s *summary) Write(b []byte) (int, error) {
	line := strings.TrimSuffix(string(b), "\n")
	if rest, ok := strings.CutPrefix(line, s.mark+" "); ok {
		s.turn(strings.Fields(rest))
		return len(b), nil
	}
	if s.running != nil {
		s.watch(line)
	}
	return s.out.Write(b)
}

// turn records that a package begins or has ended: "begin PATH", "end PATH CODE".
func (s *summary) turn(words []string) {
	for _, p := range s.packages {
		if len(words) < 2 || p.path != words[1] {
			continue
		}
		switch {
		case words[0] == "begin":
			fmt.Fprintf(s.out, "lab: %s\n", p.path)
			p.started, p.state = time.Now(), "running"
			s.running, s.said = p, make(map[string][]string)
		case words[0] == "end" && len(words) == 3:
			p.took, p.state = time.Since(p.started), "FAIL"
			if words[2] == "0" {
				p.state = "ok"
			}
			s.running = nil
		}
	}
}

func (s *summary) watch(line string) {
	if m := nowRunning.FindStringSubmatch(line); m != nil {
		s.test = m[1]
		return
	}
	if m := logLine.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], progressNote) {
		s.said[s.test] = append(s.said[s.test], m[1])
		return
	}
	m := verdict.FindStringSubmatch(line)
	if m == nil {
		return
	}
	p, name := s.running, m[3]
	top := m[1] == ""
	why := ""
	switch said := s.said[name]; {
	case len(said) == 0:
	case m[2] == "SKIP":
		why = ": " + said[len(said)-1]
	default:
		// Later errors are often consequences of the first.
		why = ": " + said[0]
	}
	switch m[2] {
	case "PASS":
		if top {
			p.passed++
		}
		return
	case "FAIL":
		if top {
			p.failed++
		}
	case "SKIP":
		if top {
			p.skipped++
		}
	}
	p.notes = append(p.notes, m[2]+": "+p.path+" "+name+why)
}

// close writes the results and reports whether at least one test ran and all passed.
func (s *summary) close() bool {
	var passed, failed, skipped int
	ok := true
	for _, p := range s.packages {
		for _, note := range p.notes {
			fmt.Fprintln(s.out, note)
		}
	}
	for _, p := range s.packages {
		passed, failed, skipped = passed+p.passed, failed+p.failed, skipped+p.skipped
		switch p.state {
		case "ok":
			fmt.Fprintf(s.out, "ok  \t%s\t%.3fs\n", p.path, p.took.Seconds())
			continue
		case "FAIL":
			fmt.Fprintf(s.out, "FAIL\t%s\t%.3fs\n", p.path, p.took.Seconds())
		case "running":
			fmt.Fprintf(s.out, "FAIL\t%s [did not end]\n", p.path)
		default:
			fmt.Fprintf(s.out, "FAIL\t%s [did not run]\n", p.path)
		}
		ok = false
	}
	if passed+failed == 0 {
		fmt.Fprintln(s.out, "no test ran to a verdict")
		ok = false
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return ok
}
