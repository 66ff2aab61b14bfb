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

// successor is the program that is now installed at the path of this one.
type successor struct {
	from   *source          // of its configuration
	reload chan<- os.Signal // gets SIGHUP
	dump   chan<- os.Signal // gets SIGUSR1
}

// check runs the successor to check the configuration.
func (s successor) check(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, program, append([]string{"check"}, s.from.args()...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s check: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// exec replaces this process by the successor, with the same arguments. It returns only after a
// failure.
func (s successor) exec(descriptors []fdstore.Descriptor) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	// Both are ignored until the successor handles them: it reads the file anyway, and the
	// other signal would kill it.
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Notify(s.reload, syscall.SIGHUP)
	defer signal.Notify(s.dump, syscall.SIGUSR1)
	return fdstore.Exec(program, os.Args, descriptors)
}
