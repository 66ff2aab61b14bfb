package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"syscall"

	"github.com/goccy/go-yaml/token"
)

// maxFile is the maximum size of a configuration file in bytes.
const maxFile = 1 << 20

// Check is an additional check of a configuration that follows the rules of this package. It
// calls refuse with the path of each wrong key, such as flows.static[3].match. It returns an
// error if it could not check.
type Check func(c *Config, refuse func(key string, err error)) error

// Load reads and checks the file at path, which must be a regular file of at most 1 MiB. Its
// errors are Errors, and match those of the system with errors.Is. The caller owns the Config.
// Each of overrides, KEY=VALUE, overrides the file, and later ones override earlier ones;
// errors name it as flag --set.
func Load(path string, overrides ...string) (*Config, error) {
	return Check(nil).Load(path, overrides...)
}

// Load is the function Load, with one more check.
func (k Check) Load(path string, overrides ...string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		msg := err.Error()
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			msg = "cannot " + pathErr.Op + ": " + pathErr.Err.Error()
		}
		return nil, Errors{{File: path, Msg: msg, Err: err}}
	}
	return k.parse(path, data, overrides...)
}

// Partial returns the readable part of a configuration file that Load refuses, and defaults for
// the rest. The name of the datapath is "" if nothing of the file can be read. The caller owns
// the Config.
func Partial(path string, overrides ...string) *Config {
	data, err := readFile(path)
	if err != nil {
		data = nil
	}
	d, c := decode(path, data, overrides...)
	if len(d.at) == 0 {
		c.Datapath.Name = ""
	}
	return c
}

// Read is Load for a configuration of at most 1 MiB from in. Errors contain name.
func (k Check) Read(name string, in io.Reader, overrides ...string) (*Config, error) {
	data, err := readAll(in)
	if err != nil {
		return nil, Errors{{File: name, Msg: "cannot read: " + err.Error(), Err: err}}
	}
	return k.parse(name, data, overrides...)
}

// readAll reads at most one byte more than the limit, so that Parse detects larger input.
func readAll(in io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(in, maxFile+1)) }

func readFile(path string) ([]byte, error) {
	// O_NONBLOCK, since the open of a named pipe waits for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("not a file: %w", syscall.EISDIR)
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	}
	return readAll(f)
}

// Parse checks the contents of a configuration file. Its errors are Errors and contain name.
// Data is not kept. The caller owns the Config. For overrides see Load.
func Parse(name string, data []byte, overrides ...string) (*Config, error) {
	return Check(nil).parse(name, data, overrides...)
}

func (k Check) parse(name string, data []byte, overrides ...string) (*Config, error) {
	d, c := decode(name, data, overrides...)
	if k != nil && d.err() == nil {
		if err := k(c, func(key string, err error) { d.check(err, key) }); err != nil {
			return nil, err
		}
		d.sort()
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// decode returns the configuration of the file and the decoder, which has its mistakes.
func decode(name string, data []byte, overrides ...string) (*decoder, *Config) {
	r := &report{file: name}
	d := &decoder{report: r, at: make(map[string]*token.Position), bad: make(map[string]bool),
		flags: make(map[string]string)}
	c := Default()
	if len(data) > maxFile {
		r.add(0, 0, "larger than %d bytes", maxFile)
		return d, c
	}
	if root := parseYAML(data, r); root != nil {
		d.mapping("", root, reflect.ValueOf(c).Elem())
		for _, text := range overrides {
			d.override(c, text)
		}
		d.validate(c)
	}
	r.sort()
	return d, c
}

// sort puts mistakes into the order of the file.
func (r *report) sort() {
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
