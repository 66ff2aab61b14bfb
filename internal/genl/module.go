package genl

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// moduleTools are the places of modprobe if PATH does not contain it, as in services with a
// short PATH.
var moduleTools = []string{"/usr/sbin/modprobe", "/sbin/modprobe"}

// LoadModule runs modprobe once to load a kernel module, bounded by ctx. The
// error includes what modprobe printed.
func LoadModule(ctx context.Context, name string) error {
	if name == "" || strings.HasPrefix(name, "-") {
		return fmt.Errorf("load module: bad name %q", name)
	}
	tool, err := findModprobe()
	if err != nil {
		return fmt.Errorf("load module %s: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, tool, name)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if text := strings.Join(strings.Fields(out.String()), " "); text != "" {
			return fmt.Errorf("load module %s: %s: %w: %s", name, tool, err, text)
		}
		return fmt.Errorf("load module %s: %s: %w", name, tool, err)
	}
	return nil
}

func findModprobe() (string, error) {
	tool, err := exec.LookPath("modprobe")
	if err == nil {
		return tool, nil
	}
	for _, path := range moduleTools {
		if _, e := exec.LookPath(path); e == nil {
			return path, nil
		}
	}
	return "", err
}
