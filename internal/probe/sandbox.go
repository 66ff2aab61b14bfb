package probe

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// sandbox is a datapath in a temporary network namespace. Both are deleted when the thread that
// created them ends.
type sandbox struct {
	conn *netlink.Conn
	fam  *dpif.Families
	dp   *dpif.Datapath
}

// inSandbox calls fn with a sandbox.
func inSandbox(fn func(*sandbox)) error {
	done := make(chan error)
	go func() {
		// Not unlocked: the thread ends with the goroutine, and the namespace
		// with the thread.
		runtime.LockOSThread()
		done <- sandboxed(fn)
	}()
	return <-done
}

func sandboxed(fn func(*sandbox)) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	return withConn(func(c *netlink.Conn) error {
		fam, err := dpif.ResolveFamilies(c)
		if err != nil {
			return err
		}
		dp, err := dpif.CreateDatapath(c, fam, "dpifd-probe", 0)
		if err != nil {
			return err
		}
		fn(&sandbox{c, fam, dp})
		return dp.Delete()
	})
}

// datapaths makes the trials that need a datapath.
func (p *prober) datapaths() {
	err := untried(errors.New("the kernel has no openvswitch"))
	first, tried := len(p.Findings), 0
	trials := datapathTrials()
	if p.fam != nil {
		err = inSandbox(func(s *sandbox) {
			for _, t := range trials {
				p.add(t.name, t.without, func() (string, error) { return t.try(s) })
				tried++
			}
		})
	}
	cause := err
	if cause == nil || errors.Is(cause, errUntried) {
		cause = errors.New("there is no datapath for the test")
	}
	for _, t := range trials[tried:] {
		p.add(t.name, t.without, func() (string, error) { return "", untried(cause) })
	}
	p.add("throw_away_datapath", "what a datapath offers cannot be tried", func() (string, error) {
		return "made in a network namespace of its own, and deleted", err
	})
	// The first finding is the precondition of the others.
	last := len(p.Findings) - 1
	p.Findings = slices.Insert(p.Findings[:last], first, p.Findings[last])
}

// request sends a request about the sandbox's datapath.
func (s *sandbox) request(cmd uint8, attrs func(*netlink.Encoder)) ([]byte, error) {
	return ovsRequest(s.conn, &s.fam.Datapath, cmd, s.dp.Index(), attrs)
}
