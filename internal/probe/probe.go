package probe

import (
	"errors"
	"fmt"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// State is the outcome of one trial.
type State string

// Outcomes.
const (
	Yes     State = "yes"
	No      State = "no"
	Untried State = "untried" // something that the trial takes is missing
)

// Finding is one thing that the kernel offers or not.
type Finding struct {
	Name    string `json:"name"` // stable, snake_case
	State   State  `json:"state"`
	Detail  string `json:"detail"`  // what was found, or why not
	Without string `json:"without"` // what dpifd does without it
	// Required means that dpifd cannot run without it.
	Required bool `json:"required"`
}

// Report has all findings.
type Report struct {
	Kernel   string    `json:"kernel"` // uname -r
	Machine  string    `json:"machine"`
	Runs     bool      `json:"runs"` // whether dpifd could run here
	Findings []Finding `json:"findings"`
}

// errUntried marks errors of trials that could not be run.
var errUntried = errors.New("not tried")

func untried(err error) error { return fmt.Errorf("%w: %w", errUntried, err) }

// trial is one finding to be made; try returns its detail.
type trial[T any] struct {
	name    string
	try     func(T) (string, error)
	without string
}

// Missing returns an error that names missing required features.
func (r *Report) Missing() error {
	var list []error
	for _, f := range r.Findings {
		if f.Required && f.State == No {
			list = append(list, fmt.Errorf("%s: %s", f.Name, f.Detail))
		}
	}
	return errors.Join(list...)
}

// Run makes all trials in the network namespace of the calling goroutine's
// thread.
func Run() Report {
	var p prober
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		p.Kernel, p.Machine = unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:])
	}
	p.openvswitch()
	p.privileges()
	for _, t := range socketTrials {
		p.add(t.name, t.without, func() (string, error) { return t.try(struct{}{}) })
	}
	p.datapaths()
	p.Runs = p.Missing() == nil
	return p.Report
}

// prober makes trials one after the other.
type prober struct {
	Report
	fam *dpif.Families // nil if the kernel has none
}

// add makes a trial.
func (p *prober) add(name, without string, try func() (string, error)) {
	f := Finding{Name: name, State: Yes, Without: without}
	detail, err := try()
	switch {
	case err == nil:
	case errors.Is(err, errUntried):
		f.State = Untried
	default:
		f.State = No
	}
	if f.Detail = detail; err != nil {
		f.Detail = err.Error()
	}
	p.Findings = append(p.Findings, f)
}

// require is add for what dpifd needs.
func (p *prober) require(name, without string, try func() (string, error)) {
	p.add(name, without, try)
	p.Findings[len(p.Findings)-1].Required = true
}

// withConn calls fn with a request socket of the calling thread's namespace.
func withConn(fn func(*netlink.Conn) error) error {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: 1 << 20})
	if err != nil {
		return err
	}
	defer conn.Close()
	return fn(conn)
}

// AppendText appends the report, one finding a line.
func (r *Report) AppendText(dst []byte) []byte {
	dst = fmt.Appendf(dst, "kernel %s %s\n", r.Kernel, r.Machine)
	for _, f := range r.Findings {
		dst = fmt.Appendf(dst, "%-7s  %-24s %s; without it: %s\n", f.State, f.Name, f.Detail, f.Without)
	}
	if r.Runs {
		return append(dst, "dpifd can run here\n"...)
	}
	return append(dst, "dpifd cannot run here\n"...)
}
