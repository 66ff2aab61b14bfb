package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/cavaliergopher/cpio"
)

// archive writes a cpio archive in the format that the kernel unpacks as its initramfs. It is not
// compressed: copying it in QEMU is faster than decompression on emulated CPUs. The first error is
// kept for close.
type archive struct {
	file *os.File
	cpio *cpio.Writer
	dirs map[string]bool
	err  error
}

func createArchive(file string) (*archive, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return &archive{file: f, cpio: cpio.NewWriter(f), dirs: map[string]bool{"/": true}}, nil
}

// close ends the archive and returns the first error of all calls.
func (a *archive) close() error {
	a.fail(a.cpio.Close())
	a.fail(a.file.Close())
	return a.err
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) entry(name string, mode cpio.FileMode, body []byte) {
	if a.err != nil {
		return
	}
	a.dir(path.Dir(name))
	err := a.cpio.WriteHeader(&cpio.Header{Name: name[1:], Mode: mode, Size: int64(len(body)), Links: 1})
	if err == nil {
		_, err = a.cpio.Write(body)
	}
	if err != nil {
		a.fail(fmt.Errorf("archive %s: %w", name, err))
	}
}

// dir adds a directory and its parents, each once.
func (a *archive) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dirs[name] = true
	a.entry(name, cpio.TypeDir|0o755, nil)
}

func (a *archive) link(name, target string) {
	a.entry(name, cpio.TypeSymlink|0o777, []byte(target))
}

func (a *archive) bytes(name string, body []byte, mode fs.FileMode) {
	a.entry(name, cpio.TypeReg|cpio.FileMode(mode.Perm()), body)
}

// copy adds a file, or a directory with its contents. Symbolic links below the directory stay
// links; host itself may be one.
func (a *archive) copy(host, guest string) {
	host, err := filepath.EvalSymlinks(host)
	if err != nil {
		a.fail(err)
		return
	}
	a.fail(filepath.WalkDir(host, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, file)
		if err != nil {
			return err
		}
		name := path.Join(guest, filepath.ToSlash(rel))
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			a.dir(name)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			a.link(name, target)
		case info.Mode().IsRegular():
			body, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			a.bytes(name, body, info.Mode())
		default:
			return errors.New(file + ": neither a file nor a folder")
		}
		return a.err
	}))
}
