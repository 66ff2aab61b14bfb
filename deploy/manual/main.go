// Command manual writes dpifd's manual pages and shell completions from the tree of commands that
// the program uses, and the manual page of the configuration file from docs/CONFIGURATION.md.
//
//	manual -out FOLDER [-version VERSION] [-configuration FILE]
//
// Pages are written to FOLDER/man, completions to FOLDER/completions, under the names that shells
// expect. Pages have the date SOURCE_DATE_EPOCH if it is set.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"dpifd/internal/command"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
)

func main() {
	out := flag.String("out", "", "write below this `folder`")
	version := flag.String("version", "", "the `version` that the pages are of")
	configuration := flag.String("configuration", "docs/CONFIGURATION.md", "the page on configuration, a Markdown `file`")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*out, *version, *configuration); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

func write(out, version, configuration string) error {
	pages, completions := filepath.Join(out, "man"), filepath.Join(out, "completions")
	for _, dir := range []string{pages, completions} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	root := command.New()
	for _, c := range documented(root) {
		page := commandPage(c, titleLine(pageName(c), section, version))
		if err := os.WriteFile(filepath.Join(pages, pageName(c)+"."+section), md2man.Render(page), 0o644); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(configuration)
	if err != nil {
		return err
	}
	page, err := configurationPage(string(text), titleLine("dpifd.yaml", "5", version))
	if err != nil {
		return fmt.Errorf("%s: %w", configuration, err)
	}
	if err := os.WriteFile(filepath.Join(pages, "dpifd.yaml.5"), md2man.Render(page), 0o644); err != nil {
		return err
	}
	return writeCompletions(root, completions)
}

// writeCompletions writes a completion script for each shell.
func writeCompletions(root *cobra.Command, dir string) error {
	for _, shell := range []struct {
		file     string
		generate func(*bytes.Buffer) error
	}{
		{"dpifd", func(b *bytes.Buffer) error { return root.GenBashCompletionV2(b, true) }},
		{"_dpifd", func(b *bytes.Buffer) error { return root.GenZshCompletion(b) }},
		{"dpifd.fish", func(b *bytes.Buffer) error { return root.GenFishCompletion(b, true) }},
	} {
		var b bytes.Buffer
		err := shell.generate(&b)
		if err == nil && b.Len() == 0 {
			err = errors.New("it is empty")
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, shell.file), b.Bytes(), 0o644)
		}
		if err != nil {
			return fmt.Errorf("completion %s: %w", shell.file, err)
		}
	}
	return nil
}
