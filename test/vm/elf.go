package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// libraryDirs are the search directories of the guest's dynamic linker, relative to the root
// directory.
var libraryDirs = []string{
	"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu",
	"lib64", "usr/lib64", "lib", "usr/lib",
	// libsystemd-shared, in the programs' RUNPATH
	"lib/x86_64-linux-gnu/systemd", "usr/lib/x86_64-linux-gnu/systemd", "lib/systemd",
}

// libraries returns the dependencies of programs: for each shared library and program interpreter,
// the path in the guest and the host's file. The programs are host files; libraries are searched
// below root.
func libraries(root string, programs []string) (map[string]string, error) {
	found := make(map[string]string)
	for queue := programs; len(queue) > 0; queue = queue[1:] {
		interpreter, names, err := elfNeeds(queue[0])
		if err != nil {
			return nil, err
		}
		if interpreter != "" {
			names = append(names, interpreter)
		}
		for _, name := range names {
			guest, host, err := findLibrary(root, name)
			if err != nil {
				return nil, fmt.Errorf("%s needs %s: %w", queue[0], name, err)
			}
			if _, known := found[guest]; !known {
				found[guest] = host
				queue = append(queue, host)
			}
		}
	}
	return found, nil
}

// elfNeeds returns the PT_INTERP and DT_NEEDED entries of an ELF file. Other files, such as
// scripts, have none.
func elfNeeds(file string) (interpreter string, needed []string, err error) {
	f, err := elf.Open(file)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return "", nil, fmt.Errorf("%s: interpreter: %w", file, err)
		}
		interpreter = strings.TrimRight(string(name), "\x00")
	}
	needed, err = f.ImportedLibraries()
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", file, err)
	}
	return interpreter, needed, nil
}

// findLibrary finds a library by its name, or an interpreter by its absolute
// path.
func findLibrary(root, name string) (guest, host string, err error) {
	var candidates []string
	if path.IsAbs(name) {
		// Packages install it with or without /usr, depending on their age.
		candidates = []string{name[1:], path.Join("usr", name)}
	} else {
		for _, dir := range libraryDirs {
			candidates = append(candidates, path.Join(dir, name))
		}
	}
	for _, c := range candidates {
		host, err := resolve(root, c)
		if err == nil {
			return "/" + c, host, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
	}
	return "", "", fs.ErrNotExist
}

// resolve follows symbolic links in the last element of name with root as the root directory, and
// returns the host path of the file.
func resolve(root, name string) (string, error) {
	for range 10 {
		host := filepath.Join(root, name)
		target, err := os.Readlink(host)
		if err != nil {
			_, err := os.Stat(host)
			return host, err
		}
		if path.IsAbs(target) {
			name = target
		} else {
			name = path.Join("/", path.Dir(name), target)
		}
	}
	return "", fmt.Errorf("%s: too many symbolic links", name)
}
