package command

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"dpifd/internal/fdstore"
)

// successor is the program now installed where this one was started from.
type successor struct {
	config string           // path of its configuration file
	reload chan<- os.Signal // gets SIGHUP
}

// check has the successor check the configuration.
func (s successor) check(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, program, "check", "--config", s.config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s check: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// exec puts the successor into the place of this process, with the same
// arguments. It returns only if it cannot.
func (s successor) exec(descriptors []int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	// A hang-up is ignored until the successor wants to know: it reads the
	// file in any case.
	signal.Ignore(syscall.SIGHUP)
	defer signal.Notify(s.reload, syscall.SIGHUP)
	return fdstore.Exec(program, os.Args, descriptors)
}
