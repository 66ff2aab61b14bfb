package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// modules are the guest's modules, together with their dependencies; those that the kernel lacks as
// modules are skipped. crc32c is requested by algorithm, not by symbol, so no dependency names it.
var modules = []string{
	"crc32c_generic", "openvswitch", "vport_vxlan", "vport_geneve", "vport_gre",
	"veth", "dummy", "8021q", "vxlan", "geneve", "ip_gre", "ip6_gre", "nlmon", "tun", "bridge",
	"sch_netem", "sch_tbf", "sch_ingress", "cls_matchall", "cls_u32", "act_mirred",
	"netlink_diag", "af_packet", "psample", "bonding",
	"nf_conntrack", "nf_nat", "nf_conntrack_ftp", "nf_nat_ftp",
}

// bootModules are loaded by /init; the kernel requests the others when they are needed.
var bootModules = []string{"crc32c_generic", "openvswitch", "veth"}

// moduleLayer writes an archive with the guest's modules and the indexes that modprobe reads. tree
// is a directory /lib/modules/VERSION.
func (l *lab) moduleLayer(ctx context.Context, root, tree, file string) error {
	version, err := moduleVersion(tree)
	if err != nil {
		return err
	}
	// depmod expects BASE/lib/modules/VERSION.
	base := filepath.Join(l.tmp, "modules")
	staged := filepath.Join(base, "staged", "lib", "modules", version)
	whole := filepath.Join(base, "whole", "lib", "modules", version)
	for _, dir := range []string{staged, filepath.Dir(whole)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink(tree, whole); err != nil {
		return err
	}
	deps, err := depmod(ctx, root, "-n", "-b", filepath.Join(base, "whole"), version)
	if err != nil {
		return err
	}
	for _, name := range moduleClosure(deps, modules) {
		if err := copyFile(filepath.Join(tree, name), filepath.Join(staged, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		err := copyFile(filepath.Join(tree, name), filepath.Join(staged, name))
		if os.IsNotExist(err) {
			// depmod warns if they are missing, and old kernels have no modinfo for built-in
			// modules.
			err = os.WriteFile(filepath.Join(staged, name), nil, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if _, err := depmod(ctx, root, "-b", filepath.Join(base, "staged"), version); err != nil {
		return err
	}
	a, err := createArchive(file)
	if err != nil {
		return err
	}
	a.copy(staged, "/usr/lib/modules/"+version)
	return a.close()
}

// depmod runs the depmod of the unpacked packages, with their own dynamic linker and libraries,
// since this machine may have none.
func depmod(ctx context.Context, root string, args ...string) (string, error) {
	_, linker, err := findLibrary(root, "/lib64/ld-linux-x86-64.so.2")
	if err != nil {
		return "", fmt.Errorf("dynamic linker: %w", err)
	}
	kmod, err := findProgram(root, "kmod")
	if err != nil {
		return "", err
	}
	var dirs []string
	for _, d := range libraryDirs {
		dirs = append(dirs, filepath.Join(root, d))
	}
	argv := append([]string{"--library-path", strings.Join(dirs, ":"), "--argv0", "depmod", kmod}, args...)
	return output(ctx, exec.CommandContext(ctx, linker, argv...))
}

var vermagic = regexp.MustCompile(`^[0-9]+\.[0-9]+[^/ ]*$`)

// moduleVersion returns the kernel version of a modules directory, which is its name.
func moduleVersion(tree string) (string, error) {
	real, err := filepath.EvalSymlinks(tree)
	if err != nil {
		return "", fmt.Errorf("kernel modules: %w", err)
	}
	version := filepath.Base(real)
	if !vermagic.MatchString(version) {
		return "", fmt.Errorf("kernel modules %s: the folder's name must be the kernel's version", tree)
	}
	return version, nil
}

var depLine = regexp.MustCompile(`(?m)^(\S+\.ko(?:\.[a-z0-9]+)?):(.*)$`)

// moduleClosure returns the files of the named modules and of their dependencies, from the text of
// modules.dep. Names that are not modules of this kernel are left out.
func moduleClosure(dep string, names []string) []string {
	byName := make(map[string]string)
	needs := make(map[string][]string)
	for _, m := range depLine.FindAllStringSubmatch(dep, -1) {
		name, _, _ := strings.Cut(filepath.Base(m[1]), ".ko")
		byName[strings.ReplaceAll(name, "-", "_")] = m[1]
		needs[m[1]] = strings.Fields(m[2])
	}
	var files []string
	for _, name := range names {
		file, ok := byName[name]
		if !ok {
			continue
		}
		// modules.dep lists indirect dependencies too.
		files = append(append(files, file), needs[file]...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}
