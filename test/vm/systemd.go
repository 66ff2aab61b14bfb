package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// systemdPackages are the additional packages of a VM with systemd, including those that the
// recipes of docs/MONITORING.md install.
var systemdPackages = []string{
	"coreutils", "dpkg", "logrotate", "mount", "mtail", "prometheus", "prometheus-node-exporter", "systemd", "tar",
}

// systemdTrees are the files and directories of these packages that are copied whole.
var systemdTrees = []string{
	"etc/default", "etc/dpkg", "etc/logrotate.conf", "etc/logrotate.d", "etc/mtail", "etc/prometheus", "etc/systemd",
	"lib/systemd", "usr/lib/dpkg", "usr/lib/sysusers.d", "usr/lib/systemd", "usr/lib/tmpfiles.d",
	"usr/share/dpkg",
}

// systemdProgramDirs are the directories from which all programs are copied.
var systemdProgramDirs = []string{"bin", "sbin", "usr/bin", "usr/sbin"}

// systemdBootModules are loaded by /init in such a VM. The datapath's module is left to
// modules-load.d.
var systemdBootModules = []string{"crc32c_generic", "veth"}

// systemdFiles are additional files of the guest, as an installation would create them. There is no
// login terminal and no disk. The job is part of multi-user.target, so it runs after everything
// that this target needs.
var systemdFiles = map[string]string{
	"/etc/machine-id":                       "",
	"/etc/fstab":                            "",
	"/etc/os-release":                       "ID=lab\nNAME=lab\n",
	"/var/lib/dpkg/status":                  "",
	"/var/lib/dpkg/info/.d":                 "",
	"/var/lib/dpkg/updates/.d":              "",
	"/etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n",
	"/etc/systemd/system/lab.service": `[Unit]
Description=The job of the lab VM
After=multi-user.target
[Service]
Type=exec
ExecStart=/init job
StandardOutput=file:/dev/console
StandardError=inherit
`,
}

// systemdLinks are the links of enabled units and of masked ones.
var systemdLinks = [][2]string{
	{"/etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target"},
	{"/etc/systemd/system/multi-user.target.wants/lab.service", "../lab.service"},
	{"/usr/bin/kill", "/usr/bin/busybox"}, // for ExecReload=
	{"/etc/systemd/system/getty.target", "/dev/null"},
	{"/etc/systemd/system/proc-sys-fs-binfmt_misc.automount", "/dev/null"},
	{"/etc/systemd/system/systemd-logind.service", "/dev/null"},
	{"/etc/systemd/system/systemd-ask-password-wall.path", "/dev/null"},
	{"/etc/systemd/system/systemd-ask-password-console.path", "/dev/null"},
	{"/etc/systemd/system/systemd-update-utmp.service", "/dev/null"},
	{"/etc/systemd/system/systemd-update-utmp-runlevel.service", "/dev/null"},
}

// systemdLayer returns the additional archive of a VM with systemd. The caller holds the lock.
func (l *lab) systemdLayer(ctx context.Context) (string, error) {
	root, err := l.rootfs(ctx, systemdPackages)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Append(nil, root, systemdTrees, systemdProgramDirs, systemdFiles, systemdLinks))
	file := filepath.Join(l.cache, fmt.Sprintf("systemd-%x.cpio", key[:6]))
	return file, l.build(file, func(file string) error { return writeSystemdLayer(root, file) })
}

func writeSystemdLayer(root, file string) error {
	a, err := createArchive(file)
	if err != nil {
		return err
	}
	var programs []string
	for _, dir := range append(systemdTrees, systemdProgramDirs...) {
		host := filepath.Join(root, dir)
		if _, err := os.Stat(host); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		a.copy(host, path.Dir(usrMerged(path.Join(dir, "file"))))
		found, err := executables(host)
		if err != nil {
			return errors.Join(err, a.close())
		}
		programs = append(programs, found...)
	}
	libs, err := libraries(root, programs)
	if err != nil {
		return errors.Join(err, a.close())
	}
	for guest, host := range libs {
		a.copy(host, usrMerged(guest))
	}
	for name, text := range systemdFiles {
		a.bytes(name, []byte(text), 0o644)
	}
	for _, link := range systemdLinks {
		a.link(link[0], link[1])
	}
	return a.close()
}

// executables returns the programs in a directory, without links.
func executables(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&0o111 != 0 {
			found = append(found, file)
		}
		return err
	})
	return found, err
}
