package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// programs of the guest. All go to /usr/bin; the other bin and sbin directories are links to it.
var programs = []string{
	"bridge", "busybox", "dash", "ethtool", "ip", "iperf3", "kmod", "nstat",
	"ovs-appctl", "ovs-dpctl", "ovs-ofctl", "ovs-vsctl", "ovs-vswitchd",
	"ovsdb-client", "ovsdb-server", "ovsdb-tool", "ping", "ss", "tc", "tcpdump",
}

// programDirs are the directories of programs in packages. Open vSwitch's daemons need their real
// paths, because update-alternatives has not run.
var programDirs = []string{
	"usr/sbin", "usr/bin", "sbin", "bin",
	"usr/lib/openvswitch-common", "usr/lib/openvswitch-switch",
}

// links of the guest's root directory. /bin/sh is not busybox, whose shell prefers its own applets
// to real programs.
var links = [][2]string{
	{"/bin", "usr/bin"},
	{"/sbin", "usr/bin"},
	{"/lib", "usr/lib"},
	{"/lib64", "usr/lib64"},
	{"/usr/sbin", "bin"},
	{"/usr/bin/sh", "dash"},
	{"/usr/bin/modprobe", "kmod"},
	{"/usr/bin/depmod", "kmod"},
	{"/usr/bin/insmod", "kmod"},
	{"/usr/bin/lsmod", "kmod"},
	{"/usr/bin/modinfo", "kmod"},
	{"/usr/bin/rmmod", "kmod"},
	{"/var/run", "../run"},
}

// image is what QEMU boots.
type image struct {
	kernel string
	name   string   // kernel name for messages
	layers []string // archives that make up the initramfs, in order
}

// layers returns the kernel and the archives for all VMs, and builds those missing in the cache.
func (l *lab) layers(ctx context.Context, systemd bool) (image, error) {
	unlock, err := l.lock()
	if err != nil {
		return image{}, err
	}
	defer unlock()
	root, err := l.rootfs(ctx, packages)
	if err != nil {
		return image{}, err
	}
	// The key covers everything that the archive is built from.
	key := sha256.Sum256(fmt.Append(nil, root, programs, links))
	userland := filepath.Join(l.cache, fmt.Sprintf("userland-%x.cpio", key[:6]))
	if err := l.build(userland, func(file string) error { return userlandLayer(root, file) }); err != nil {
		return image{}, err
	}
	img := image{kernel: os.Getenv("LAB_KERNEL"), layers: []string{userland}}
	if systemd {
		layer, err := l.systemdLayer(ctx)
		if err != nil {
			return image{}, err
		}
		img.layers = append(img.layers, layer)
	}
	tree := os.Getenv("LAB_MODULES")
	if img.kernel != "" {
		if _, err := os.Stat(img.kernel); err != nil {
			return image{}, fmt.Errorf("LAB_KERNEL: %w", err)
		}
		img.name = img.kernel
		if tree == "" {
			return img, nil
		}
		tree, err = filepath.Abs(tree)
		if err != nil {
			return image{}, err
		}
		file := filepath.Join(l.tmp, "modules.cpio")
		img.layers = append(img.layers, file)
		return img, l.moduleLayer(ctx, root, tree, file)
	}
	if tree != "" {
		return image{}, errors.New("LAB_MODULES is set without LAB_KERNEL")
	}
	kernels, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return image{}, fmt.Errorf("the packages hold %d kernels, want one", len(kernels))
	}
	img.kernel = kernels[0]
	version := strings.TrimPrefix(filepath.Base(img.kernel), "vmlinuz-")
	img.name = "Debian's " + version
	tree = filepath.Join(root, "lib", "modules", version)
	if _, err := os.Stat(tree); err != nil {
		tree = filepath.Join(root, "usr", "lib", "modules", version)
	}
	key = sha256.Sum256(fmt.Append(nil, tree, modules))
	file := filepath.Join(l.cache, fmt.Sprintf("modules-%x.cpio", key[:6]))
	img.layers = append(img.layers, file)
	return img, l.build(file, func(file string) error { return l.moduleLayer(ctx, root, tree, file) })
}

// build creates a file in the cache unless it exists. The file gets its name when it is complete.
func (l *lab) build(file string, write func(file string) error) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	progress("building %s", filepath.Base(file))
	partial := filepath.Join(l.tmp, filepath.Base(file))
	if err := write(partial); err != nil {
		return err
	}
	return os.Rename(partial, file)
}

// userlandLayer writes the archive with the guest's programs and libraries.
func userlandLayer(root, file string) error {
	a, err := createArchive(file)
	if err != nil {
		return err
	}
	for _, link := range links {
		a.link(link[0], link[1])
	}
	for _, dir := range []string{"/dev", "/proc", "/root", "/run", "/sys", "/tmp", "/usr/lib/busybox", "/var/log"} {
		a.dir(dir)
	}
	a.bytes("/etc/passwd", []byte("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"), 0o644)
	a.bytes("/etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"), 0o644)
	a.bytes("/etc/hosts", []byte("127.0.0.1 localhost lab\n::1 localhost\n"), 0o644)
	a.bytes("/etc/modprobe.d/lab.conf", []byte("options dummy numdummies=0\n"), 0o644)
	var files []string
	for _, name := range programs {
		host, err := findProgram(root, name)
		if err != nil {
			return errors.Join(err, a.close())
		}
		files = append(files, host)
		a.copy(host, "/usr/bin/"+name)
	}
	libs, err := libraries(root, files)
	if err != nil {
		return errors.Join(err, a.close())
	}
	for guest, host := range libs {
		a.copy(host, usrMerged(guest))
	}
	schema, err := resolve(root, "/usr/share/openvswitch/vswitch.ovsschema")
	if err != nil {
		return errors.Join(err, a.close())
	}
	a.copy(schema, "/usr/share/openvswitch/vswitch.ovsschema")
	return a.close()
}

func findProgram(root, name string) (string, error) {
	for _, dir := range programDirs {
		host, err := resolve(root, path.Join(dir, name))
		if err == nil {
			return host, nil
		}
	}
	return "", fmt.Errorf("program %s is in none of the packages: %w", name, fs.ErrNotExist)
}

// usrMerged returns the real location of a path in the guest, whose directories /bin, /sbin, /lib
// and /lib64 are links. Unpacking a directory over a link would replace the link.
func usrMerged(name string) string {
	name = path.Clean("/" + name)
	for _, link := range links {
		if rest, ok := strings.CutPrefix(name, link[0]+"/"); ok {
			return usrMerged(path.Join(path.Dir(link[0]), link[1], rest))
		}
	}
	return name
}

// initramfs concatenates archives into one file. The kernel unpacks them in order.
func (l *lab) initramfs(layers ...string) (string, error) {
	out, err := os.Create(filepath.Join(l.tmp, "initramfs"))
	if err != nil {
		return "", err
	}
	defer out.Close()
	for _, layer := range layers {
		in, err := os.Open(layer)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(out, in)
		in.Close()
		if err != nil {
			return "", err
		}
	}
	return out.Name(), out.Close()
}

// copyFile copies a file and creates its parent directories.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// quote quotes words for the guest's shell.
func quote(words ...string) string {
	quoted := slices.Clone(words)
	for i, w := range quoted {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
