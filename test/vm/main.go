package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: vm COMMAND [flags] [arguments]

  fetch                          download the guest's packages and build its image
  run [flags] -- PROGRAM ARG...  boot the VM and run a program in it
  test [flags] PACKAGE...        run the tests with build tag lab of Go packages, in one VM;
                                 with -systemd those with tags lab and systemd
  need PROGRAM=PACKAGE[,...]...  install Debian packages on this machine where a program is missing

Environment:
  LAB_KERNEL   boot this bzImage instead of Debian's cloud kernel
  LAB_MODULES  its /lib/modules/VERSION tree; without it everything must be built in
  LAB_ACCEL    tcg (the default), kvm, or icount: the guest's time is counted in
               instructions, so that figures do not depend on the host; -cpus 1 only
  LAB_CACHE    cache folder, .cache/lab by default

Exit codes: the guest program's own; 124 after a timeout, 125 if the lab itself
or the guest's kernel failed, 130 when interrupted.
`

const (
	exitTimeout     = 124
	exitLab         = 125
	exitInterrupted = 130
)

func main() {
	// The VM has a parent-death signal, which is sent when the thread that started the VM ends.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	code, err := command(ctx, os.Args[1:])
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "lab: interrupted")
		code = exitInterrupted
	case errors.Is(err, flag.ErrHelp):
		code = 2
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	os.Exit(code)
}

// command runs one subcommand and returns the exit code of the process, which is not 0 if there is
// an error.
func command(ctx context.Context, args []string) (int, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	var opts options
	flags := flag.NewFlagSet("vm "+name, flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flags.PrintDefaults()
	}
	switch name {
	case "need":
	case "fetch":
		opts.registerSystemd(flags)
	case "run":
		opts.register(flags)
	case "test":
		opts.register(flags)
		flags.StringVar(&opts.testRun, "run", "", "run only tests that match this `regexp`")
		flags.StringVar(&opts.testSkip, "skip", "", "leave out tests that match this `regexp`")
		flags.IntVar(&opts.testCount, "count", 1, "run each test this many times")
		flags.IntVar(&opts.testParallel, "parallel", 8, "run this many tests that call t.Parallel at once")
		flags.Var(&opts.also, "also", "run a package's tests once more, with an environment variable: `PACKAGE:NAME=VALUE`")
		flags.StringVar(&opts.alsoSkip, "also-skip", "", "leave out of -also tests that match this `regexp`")
		flags.StringVar(&opts.last, "last", "", "run the tests of this `package` after all others")
		flags.StringVar(&opts.then, "then", "", "afterwards run this shell `command` in the same VM; its failure is a test's")
	default:
		flags.Usage()
		return 2, flag.ErrHelp
	}
	if err := flags.Parse(args[1:]); err != nil {
		return 2, flag.ErrHelp
	}
	if name == "need" {
		return result(need(ctx, flags.Args()))
	}
	lab, err := openLab(ctx)
	if err != nil {
		return exitLab, err
	}
	defer lab.close()
	switch name {
	case "run":
		if flags.NArg() == 0 {
			return 2, errors.New("run: no program given")
		}
		return lab.run(ctx, opts, flags.Args(), os.Stdout)
	case "test":
		return lab.test(ctx, opts, flags.Args())
	}
	_, err = lab.layers(ctx, opts.systemd)
	return result(err)
}

func result(err error) (int, error) {
	if err != nil {
		return exitLab, err
	}
	return 0, nil
}

// options are the flags of run and test.
type options struct {
	add, env, get list
	timeout       time.Duration
	memoryMiB     int
	cpus          int
	log           string
	systemd       bool

	testRun, testSkip, alsoSkip, last, then string
	testCount, testParallel                 int
	tests                                   bool // it runs tests
	also                                    list
}

func (o *options) registerSystemd(flags *flag.FlagSet) {
	flags.BoolVar(&o.systemd, "systemd", false, "have systemd as the guest's first process, and dpkg")
}

func (o *options) register(flags *flag.FlagSet) {
	o.registerSystemd(flags)
	flags.Var(&o.add, "add", "put a file or folder into the guest: `HOST:GUEST`; programs must be static")
	flags.Var(&o.env, "env", "set an environment variable in the guest: `NAME=VALUE`")
	flags.Var(&o.get, "get", "afterwards copy a folder's files out of the guest: `GUEST:HOST`")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "end the VM this long after its boot")
	flags.IntVar(&o.memoryMiB, "memory", 1024, "the guest's memory in `MiB`")
	flags.IntVar(&o.cpus, "cpus", 2, "the guest's CPUs")
	flags.StringVar(&o.log, "log", "", "write the whole console to this `file` (default: a file in the cache)")
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// pairs splits each A:B of the list.
func (l list) pairs(flagName string) ([][2]string, error) {
	var out [][2]string
	for _, s := range l {
		a, b, ok := strings.Cut(s, ":")
		if !ok || a == "" || b == "" {
			return nil, fmt.Errorf("-%s %q: want A:B", flagName, s)
		}
		out = append(out, [2]string{a, b})
	}
	return out, nil
}

// lab holds the cache directory and paths derived from it. Only one process at a time builds in the
// cache; any number may run VMs.
type lab struct {
	cache string // absolute
	tmp   string // temporary, removed by close
}

func openLab(ctx context.Context) (*lab, error) {
	cache := os.Getenv("LAB_CACHE")
	if cache == "" {
		root, err := moduleRoot(ctx)
		if err != nil {
			return nil, err
		}
		cache = filepath.Join(root, ".cache", "lab")
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cache, "log"), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(cache, "tmp-")
	if err != nil {
		return nil, err
	}
	return &lab{cache: cache, tmp: tmp}, nil
}

func (l *lab) close() {
	if err := os.RemoveAll(l.tmp); err != nil {
		fmt.Fprintln(os.Stderr, "lab: remove temporary files:", err)
	}
}

// progress reports slow steps on standard error.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "lab: "+format+"\n", args...)
}
