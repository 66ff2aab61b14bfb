package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// moduleRoot returns the root directory of the current Go module.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := output(ctx, exec.CommandContext(ctx, "go", "env", "GOMOD"))
	if err != nil {
		return "", err
	}
	mod := strings.TrimSpace(out)
	if mod == "" || mod == os.DevNull {
		return "", errors.New("not inside the project's folder")
	}
	return filepath.Dir(mod), nil
}

// need installs Debian packages on this machine for missing programs. Each argument is
// PROGRAM=PACKAGE[,PACKAGE...].
func need(ctx context.Context, args []string) error {
	var missing, packages []string
	for _, arg := range args {
		program, list, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("need %q: want PROGRAM=PACKAGE", arg)
		}
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
			packages = append(packages, strings.Split(list, ",")...)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	progress("%s missing; installing %s", strings.Join(missing, ", "), strings.Join(packages, ", "))
	var asRoot []string
	if os.Geteuid() != 0 {
		sudo, err := exec.LookPath("sudo")
		if err != nil {
			return fmt.Errorf("not root and no sudo: run `apt-get install %s` as root", strings.Join(packages, " "))
		}
		asRoot = []string{sudo}
	}
	for _, step := range [][]string{
		{"apt-get", "-q", "update"},
		append([]string{"env", "DEBIAN_FRONTEND=noninteractive",
			"apt-get", "-q", "-y", "--no-install-recommends", "install"}, packages...),
	} {
		argv := append(asRoot[:len(asRoot):len(asRoot)], step...)
		// sudo may ask for a password on the terminal.
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
		}
	}
	return nil
}

// output runs a command and returns its standard output. The error includes its standard error.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
