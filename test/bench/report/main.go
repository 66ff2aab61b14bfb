// Command report makes the tables of docs/PERFORMANCE.md and the plot beside it
// of what command run measured. In the document it replaces what is between the
// two marks; the rest is written by hand.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"dpifd/test/bench"
)

const (
	beginMark = "<!-- measured: begin -->\n"
	endMark   = "<!-- measured: end -->\n"
)

func main() {
	in := flag.String("in", "", "measurements, a `file` of command run")
	scale := flag.Bool("scale", false, "the measurements are of a scale run")
	doc := flag.String("doc", "docs/PERFORMANCE.md", "document `file` with the two marks")
	plot := flag.String("plot", "docs/performance.svg", "plot `file`")
	binary := flag.String("binary", "bin/dpifd", "dpifd's binary `file`")
	load := flag.String("load", "unknown", "load averages of the host before and after, as `text`")
	flag.Parse()
	if *scale {
		if err := reportScale(*in, *doc, *load); err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
		return
	}
	if err := report(*in, *doc, *plot, *binary, *load); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(in, doc, plot, binary, load string) error {
	r, err := bench.ReadRun(in)
	if err != nil {
		return err
	}
	measured, err := os.Stat(in)
	if err != nil {
		return err
	}
	file, err := os.Stat(binary)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Measured %s on %s, %d cores (%s); load average before and after: %s.\n",
		measured.ModTime().UTC().Format(time.DateOnly), cpuModel(), runtime.NumCPU(), runtime.GOARCH, load)
	fmt.Fprintf(&b, "Guest: Linux %s, %d CPUs; %s. %d rounds.\n\n", r.Kernel, r.CPUs, r.OVS, r.Rounds())
	writeTargets(&b, r, file.Size())
	writeTables(&b, r)
	if err := update(doc, b.String()); err != nil {
		return err
	}
	return os.WriteFile(plot, drawPlot(r), 0o644)
}

// update puts text between the marks of a document.
func update(doc, text string) error {
	old, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	out, err := replace(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", doc, err)
	}
	return os.WriteFile(doc, []byte(out), 0o644)
}

// replace puts text between the marks.
func replace(doc, text string) (string, error) {
	before, rest, ok := strings.Cut(doc, beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !ok || !ended {
		return "", fmt.Errorf("the marks %q and %q are missing", beginMark, endMark)
	}
	return before + beginMark + "\n" + text + "\n" + endMark + after, nil
}

// cpuModel names the host's CPU.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	_, rest, _ := strings.Cut(string(b), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}
