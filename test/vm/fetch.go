package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// packages are the Debian packages of the guest. Of their dependencies only libraries are fetched.
var packages = []string{
	"busybox-static",
	"dash",
	"ethtool",
	"iperf3",
	"iproute2",
	"iputils-ping",
	"kmod",
	"linux-image-cloud-amd64",
	"openvswitch-common",
	"openvswitch-switch",
	"tcpdump",
}

// lock keeps other processes from building in the cache until unlock is called.
func (l *lab) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(l.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the lab's cache: %w", err)
	}
	return func() { f.Close() }, nil
}

// rootfs returns a directory with the unpacked packages and the libraries that they need. It
// downloads them only if the cache lacks them. The caller holds the lock.
func (l *lab) rootfs(ctx context.Context, packages []string) (string, error) {
	key := sha256.Sum256([]byte(strings.Join(packages, " ")))
	dir := filepath.Join(l.cache, fmt.Sprintf("rootfs-%x", key[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	debs, err := l.download(ctx, packages)
	if err != nil {
		return "", err
	}
	progress("unpacking %d packages", len(debs))
	partial := filepath.Join(l.tmp, filepath.Base(dir))
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", err
	}
	for _, deb := range debs {
		if _, err := output(ctx, exec.CommandContext(ctx, "dpkg-deb", "--extract", deb, partial)); err != nil {
			return "", err
		}
	}
	// The directory gets its name when it is complete.
	if err := os.Rename(partial, dir); err != nil {
		return "", err
	}
	return dir, nil
}

// download fetches the packages with a separate apt state: lists, cache and (empty) status are in
// the cache directory, so no privileges are needed and the machine's apt state is unchanged.
// Sources and keys are the machine's.
func (l *lab) download(ctx context.Context, packages []string) ([]string, error) {
	root := filepath.Join(l.tmp, "apt")
	// File names contain package and version, and apt verifies the hashes of existing files.
	archives := filepath.Join(l.cache, "packages")
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(archives, 0o755); err != nil {
		return nil, err
	}
	status := filepath.Join(root, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	apt := func(args ...string) *exec.Cmd {
		args = append([]string{
			"-q", "-y",
			"-o", "Dir::State=" + filepath.Join(root, "state"),
			"-o", "Dir::State::status=" + status,
			"-o", "Dir::Cache=" + filepath.Join(root, "cache"),
			"-o", "APT::Architecture=amd64",
			"-o", "APT::Architectures=amd64",
			// apt's unprivileged user cannot write here.
			"-o", "APT::Sandbox::User=root",
			"--no-install-recommends",
		}, args...)
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Dir = archives
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		return cmd
	}
	progress("fetching package lists")
	if out, err := output(ctx, apt("update")); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	plan, err := output(ctx, apt(append([]string{"--simulate", "install"}, packages...)...))
	if err != nil {
		return nil, err
	}
	wanted := selectPackages(plan, packages)
	if len(wanted) < len(packages) {
		return nil, fmt.Errorf("apt-get's plan names only %d packages:\n%s", len(wanted), plan)
	}
	progress("fetching %d packages", len(wanted))
	var debs []string
	cmd := apt(append([]string{"download"}, wanted...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("apt-get download: %w", err), ctx.Err())
	}
	for _, p := range wanted {
		name, version, _ := strings.Cut(p, "=")
		found, err := filepath.Glob(filepath.Join(archives, name+"_"+strings.ReplaceAll(version, ":", "%3a")+"_*.deb"))
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("package %s was not downloaded: %w", p, fs.ErrNotExist)
		}
		debs = append(debs, found[0])
	}
	return debs, nil
}

var (
	instLine    = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `)
	libraryName = regexp.MustCompile(`^z?lib`)
	unusedLibs  = regexp.MustCompile(`^lib(perl|python)`)
)

// selectPackages selects the packages in apt-get's plan (lines "Inst name (version ...)") that the
// guest needs: those requested, the kernel of the metapackage, and libraries. It returns
// NAME=VERSION.
func selectPackages(plan string, packages []string) []string {
	asked := make(map[string]bool)
	for _, p := range packages {
		asked[p] = true
	}
	var out []string
	for _, m := range instLine.FindAllStringSubmatch(plan, -1) {
		name := m[1]
		library := libraryName.MatchString(name) && !unusedLibs.MatchString(name)
		if asked[name] || library || strings.HasPrefix(name, "linux-image-") {
			out = append(out, name+"="+m[2])
		}
	}
	return out
}
