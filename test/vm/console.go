package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// console reads the guest's first serial port: boot messages up to a first mark, then the program's
// output mixed with kernel messages, up to a second mark.
type console struct {
	out  io.Writer // receives the program's output, one line per Write
	log  io.Writer // receives every byte
	mark string

	begun   bool     // the mark was seen
	ended   bool     // the mark was seen again
	boot    []string // the last lines before the first mark
	trouble []string // the kernel's report of its own failure, if any
}

// maxBoot is the maximum number of boot messages kept, in lines.
const maxBoot = 20

// kernelTrouble matches messages about kernel failures. The time stamp distinguishes them from the
// same words in a program's output; it may follow an incomplete line of the program.
var (
	kernelLine    = regexp.MustCompile(`\[ *\d+\.\d{6}\](?:\[[^\]]*\])? (.*)`)
	kernelTrouble = regexp.MustCompile(`^(?:Kernel panic|BUG: |kernel BUG at|Oops\b|general protection fault|` +
		`Bad page |bad page |Unable to handle kernel|(?:INFO: task .* blocked))|stack-protector:|: bad page`)
)

// maxTrouble is the maximum length of the kernel's report that is kept, in lines.
const maxTrouble = 60

// read reads to the second mark, or to the end of r. Carriage returns before
// newlines are stripped.
func (c *console) read(r io.Reader) error {
	in := bufio.NewReader(io.TeeReader(r, c.log))
	// The mark is on its own line, which may add an empty one.
	empty := false
	for {
		line, err := in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("guest console: %w", err)
		}
		text := strings.TrimRight(line, "\r\n")
		switch {
		case text == c.mark && c.begun:
			c.ended = true
			return nil
		case text == c.mark:
			c.begun = true
		case !c.begun:
			c.watch(text)
			if text != "" {
				c.boot = append(c.boot[max(0, len(c.boot)+1-maxBoot):], text)
			}
		default:
			c.watch(text)
			if empty {
				if _, err := io.WriteString(c.out, "\n"); err != nil {
					return err
				}
			}
			empty = text == "" && err == nil
			if !empty && line != "" {
				if err == nil {
					text += "\n"
				}
				if _, err := io.WriteString(c.out, text); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return nil
		}
	}
}

// lastWords describes, as the end of a sentence, how far a boot came before it stopped.
func (c *console) lastWords() string {
	if c.begun || len(c.boot) == 0 {
		return ""
	}
	return "; its console ends in:\n  " + strings.Join(c.boot, "\n  ")
}

func (c *console) watch(line string) {
	m := kernelLine.FindStringSubmatch(line)
	if m == nil || len(c.trouble) == maxTrouble {
		return
	}
	if len(c.trouble) > 0 || kernelTrouble.MatchString(m[1]) {
		c.trouble = append(c.trouble, m[0])
	}
}

// control reads the guest's second serial port. It carries lines; one kind is followed by bytes:
//
//	note TEXT         something to tell the user
//	ready VERSION     the kernel is up and the program starts
//	exit CODE         the program ended
//	files INDEX SIZE  SIZE bytes of tar follow: the INDEXth folder asked for
//	done              there is nothing more
type control struct {
	get   []string             // host folders by INDEX
	ready func(version string) // called once
	note  func(text string)

	code int  // of the program, after read returned nil
	done bool // everything arrived
}

func (c *control) read(r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("guest control port: %w", err)
		}
		word, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch word {
		case "note":
			c.note(rest)
		case "ready":
			c.ready(rest)
		case "exit":
			c.code, err = strconv.Atoi(rest)
		case "files":
			err = c.files(in, rest)
		case "done":
			c.done = true
			return nil
		default:
			err = errors.New("unknown word")
		}
		if err != nil {
			return fmt.Errorf("guest control port: %q: %w", line, err)
		}
	}
}

func (c *control) files(in io.Reader, args string) error {
	var index int
	var size int64
	if _, err := fmt.Sscanf(args, "%d %d", &index, &size); err != nil {
		return err
	}
	if index < 0 || index >= len(c.get) || size < 0 {
		return errors.New("not asked for")
	}
	part := io.LimitReader(in, size)
	if err := extract(part, size, c.get[index]); err != nil {
		return err
	}
	// A tar may be padded beyond its end mark.
	_, err := io.Copy(io.Discard, part)
	return err
}

// extract unpacks the folders and regular files of a tar stream of size bytes
// into dir, and nothing outside of it.
func extract(r io.Reader, size int64, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(name, 0o755); err != nil {
				return err
			}
		case tar.TypeReg:
			// A sparse file may claim any size.
			if h.Size > size {
				return fmt.Errorf("%s: %d bytes in a stream of %d", name, h.Size, size)
			}
			if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			var body bytes.Buffer
			if _, err := io.Copy(&body, in); err != nil {
				return err
			}
			if err := root.WriteFile(name, body.Bytes(), 0o644); err != nil {
				return err
			}
		}
	}
}
