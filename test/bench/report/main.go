// Command report writes the tables of docs/PERFORMANCE.md or docs/SCALE.md and the plot of that
// page from the measurements of command run. It replaces the text between marks in the page.
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

func main() {
	in := flag.String("in", "", "measurements, a `file` of command run")
	scale := flag.Bool("scale", false, "the measurements are of a scale run")
	doc := flag.String("doc", "docs/PERFORMANCE.md", "document `file` with the two marks")
	plot := flag.String("plot", "docs/performance.svg", "plot `file`")
	binary := flag.String("binary", "bin/dpifd", "dpifd's binary `file`")
	load := flag.String("load", "unknown", "load averages of the host before and after, as `text`")
	flag.Parse()
	if *scale {
		if err := reportScale(*in, *doc, *plot, *load); err != nil {
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
	if err := update(doc, "summary", b.String()); err != nil {
		return err
	}
	b.Reset()
	writeTables(&b, r)
	if err := update(doc, "measured", b.String()); err != nil {
		return err
	}
	return os.WriteFile(plot, drawPlot(r), 0o644)
}

// update replaces the text between two marks in a document.
func update(doc, name, text string) error {
	old, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	out, err := replace(string(old), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", doc, err)
	}
	return os.WriteFile(doc, []byte(out), 0o644)
}

// marks returns the lines that enclose a part of a document.
func marks(name string) (begin, end string) {
	return "<!-- " + name + ": begin -->\n", "<!-- " + name + ": end -->\n"
}

// replace puts text between the marks of a name.
func replace(doc, name, text string) (string, error) {
	begin, end := marks(name)
	before, rest, ok := strings.Cut(doc, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return "", fmt.Errorf("the marks %q and %q are missing", begin, end)
	}
	return before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after, nil
}

// cpuModel returns the name of the host's CPU.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	_, rest, _ := strings.Cut(string(b), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}
