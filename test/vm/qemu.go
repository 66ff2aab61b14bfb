package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed init.sh
var initScript string

const qemu = "qemu-system-x86_64"

// bootLimit is the maximum time from the kernel's start to that of the program. Debian's kernel
// needs about four seconds on two idle cores, ten with systemd, and needed two minutes on a host
// with a load of ten times its cores.
const bootLimit = 4 * time.Minute

// boots is the maximum number of starts of a guest that does not reach the program: an emulated
// guest may hang during boot. A service that does not start is no reason: systemd gives up on it
// sooner (TimeoutStartSec=).
const boots = 2

var (
	errNotBooted = errors.New("the guest did not boot")
	errTimeout   = errors.New("timeout")
)

// kernelArgs make the kernel log its boot with time stamps (init.sh ends that) and panic on the
// first oops; quiet is for systemd. Emulated CPUs may stall longer than the watchdogs allow. They
// have the host's TSC, which the kernel would not trust by default: it would then read the clock
// from an emulated device by a system call, which no real machine does.
const kernelArgs = "console=ttyS0 quiet loglevel=7 printk.time=1 panic=-1 oops=panic nowatchdog " +
	"rdinit=/init net.ifnames=0 mitigations=off random.trust_cpu=on tsc=reliable"

// testArgs leave out what the kernel does for security and accounting alone: a seventh of the CPU
// that tests use. Benchmarks run with the kernel as it is.
const testArgs = " init_on_alloc=0 psi=0 apparmor=0"

// run boots a VM, runs a program in it and returns the program's exit code. The program's output is
// written to out, line by line.
func (l *lab) run(ctx context.Context, o options, argv []string, out io.Writer) (code int, err error) {
	gets, err := o.get.pairs("get")
	if err != nil {
		return exitLab, err
	}
	img, err := l.layers(ctx, o.systemd)
	if err != nil {
		return exitLab, err
	}
	if err := need(ctx, []string{qemu + "=qemu-system-x86"}); err != nil {
		return exitLab, err
	}
	mark := "lab-mark-" + rand.Text()
	layer, err := l.jobLayer(o, gets, mark, argv)
	if err != nil {
		return exitLab, err
	}
	initramfs, err := l.initramfs(append(img.layers, layer)...)
	if err != nil {
		return exitLab, err
	}
	if o.log == "" {
		o.log = filepath.Join(l.cache, "log", time.Now().Format("20060102-150405")+"-"+strconv.Itoa(os.Getpid())+".log")
	}
	log, err := os.Create(o.log)
	if err != nil {
		return exitLab, err
	}
	defer log.Close()

	accel := os.Getenv("LAB_ACCEL")
	if accel == "" {
		accel = "tcg"
	}
	args, err := qemuArgs(accel, o, img.kernel, initramfs)
	if err != nil {
		return exitLab, err
	}
	g := guest{args: args, mark: mark, bootLimit: bootLimit, timeout: o.timeout, out: out, log: log}
	for _, get := range gets {
		g.get = append(g.get, get[1])
	}
	progress("booting %s (%d CPUs, %d MiB, %s)", img.name, o.cpus, o.memoryMiB, accel)
	code, err = g.run(ctx)
	if err != nil {
		err = fmt.Errorf("%w\nlab: the whole console is in %s", err, o.log)
	}
	return code, err
}

// guest holds the parameters of a VM.
type guest struct {
	args     []string // QEMU's arguments
	mark     string
	get      []string // host directories for the returned files
	out, log io.Writer

	bootLimit, timeout time.Duration
}

// run boots the guest, a second time if it hangs, and returns the program's exit code.
func (g *guest) run(ctx context.Context) (code int, err error) {
	for i := 1; ; i++ {
		code, err = g.boot(ctx)
		if i == boots || !errors.Is(err, errNotBooted) {
			return code, err
		}
		progress("%v\nlab: booting again", err)
	}
}

// boot starts QEMU once. The error is errNotBooted if the program did not start in time and the
// kernel did not report why.
func (g *guest) boot(ctx context.Context) (int, error) {
	// The program's time limit starts when the guest is up.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &vm{
		console: console{out: g.out, log: g.log, mark: g.mark},
		control: control{get: g.get, note: func(text string) { progress("guest: %s", text) }},
		booted:  make(chan struct{}), bootLimit: g.bootLimit,
	}
	start := time.Now()
	v.control.ready = func(version string) {
		progress("up after %.1f s: Linux %s", time.Since(start).Seconds(), version)
		close(v.booted)
		end := time.AfterFunc(g.timeout, func() { cancel(errTimeout) })
		context.AfterFunc(ctx, func() { end.Stop() })
	}
	code, err := v.run(ctx, g.args)
	if errors.Is(context.Cause(ctx), errTimeout) {
		code, err = exitTimeout, fmt.Errorf("timeout: the VM was killed after %v", g.timeout)
	}
	if len(v.console.trouble) > 0 {
		text := "the guest's kernel failed:\n  " + strings.Join(v.console.trouble, "\n  ")
		if err != nil {
			text += "\n" + err.Error()
		}
		return exitLab, errors.New(text)
	}
	return code, err
}

// jobLayer writes the archive of one run: /init, the job that it sources, and the added files.
func (l *lab) jobLayer(o options, gets [][2]string, mark string, argv []string) (string, error) {
	adds, err := o.add.pairs("add")
	if err != nil {
		return "", err
	}
	file := filepath.Join(l.tmp, "job.cpio")
	a, err := createArchive(file)
	if err != nil {
		return "", err
	}
	a.bytes("/init", []byte(initScript), 0o755)
	for _, add := range adds {
		a.copy(add[0], usrMerged(add[1]))
	}
	var dirs []string
	for _, g := range gets {
		if strings.ContainsAny(g[0], " \t\n'\"$*?[") {
			return "", errors.Join(fmt.Errorf("-get %q: the guest's folder needs a plain name", g[0]), a.close())
		}
		dirs = append(dirs, g[0])
	}
	load, systemd := bootModules, ""
	if o.systemd {
		// Modules that the tested service loads are not loaded before.
		load, systemd = systemdBootModules, "1"
	}
	var job bytes.Buffer
	fmt.Fprintf(&job, "LAB_MARK=%s\nLAB_GET=%s\nLAB_MODULES=%s\nLAB_SYSTEMD=%s\n",
		quote(mark), quote(strings.Join(dirs, " ")), quote(strings.Join(load, " ")), quote(systemd))
	fmt.Fprintf(&job, "run() {\n\t(")
	for _, env := range o.env {
		name, value, ok := strings.Cut(env, "=")
		if !ok {
			return "", errors.Join(fmt.Errorf("-env %q: want NAME=VALUE", env), a.close())
		}
		fmt.Fprintf(&job, "export %s=%s; ", name, quote(value))
	}
	fmt.Fprintf(&job, "exec %s)\n}\n", quote(argv...))
	a.bytes("/lab/job", job.Bytes(), 0o644)
	return file, a.close()
}

// emulatedCPU lacks what kernels do without and QEMU does badly. QEMU 7.2 sometimes returns from an
// emulated cmpxchg16b with wrong EFLAGS, which breaks one in ten boots of Linux 6.12. It emulates
// `rep stosb` and `rep movsb`, by which Linux clears and copies memory on CPUs with ERMS or FSRM, byte
// by byte: a boot takes 11 s instead of 8, and each byte counts as an instruction.
const emulatedCPU = "max,-cx16,-erms,-fsrm"

// qemuArgs returns QEMU's arguments. The guest needs no devices except serial ports, of the oldest
// kind; their output goes to descriptors 3 and 4.
func qemuArgs(accel string, o options, kernel, initramfs string) ([]string, error) {
	var cpu string
	var clock []string
	args := kernelArgs
	switch accel {
	case "tcg":
		accel, cpu = "tcg,thread=multi", emulatedCPU
		if o.tests {
			args += testArgs
		}
		if khz := tscKHz(); khz > 0 {
			// The kernel's own measurement fails on a busy host: the clock of a guest was seen to
			// run ten times too fast.
			args += " tsc_early_khz=" + strconv.Itoa(khz)
		}
	case "icount":
		// Each instruction takes 2 ns of the guest's time, independent of the host's load. Linux
		// does not boot with a second CPU then.
		if o.cpus != 1 {
			return nil, fmt.Errorf("LAB_ACCEL=icount has one CPU, not %d: -cpus 1", o.cpus)
		}
		accel, cpu = "tcg,thread=single", emulatedCPU
		clock = []string{"-icount", "shift=1,sleep=off"}
	case "kvm":
		cpu = "host"
	default:
		return nil, fmt.Errorf("LAB_ACCEL=%s: want tcg, icount or kvm", accel)
	}
	return append(clock,
		"-machine", "pc", "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(o.cpus), "-m", strconv.Itoa(o.memoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// A pipe cannot be truncated, so append.
		"-add-fd", "fd=3,set=1", "-chardev", "file,id=console,path=/dev/fdset/1,append=on", "-serial", "chardev:console",
		"-add-fd", "fd=4,set=2", "-chardev", "file,id=control,path=/dev/fdset/2,append=on", "-serial", "chardev:control",
		"-kernel", kernel, "-initrd", initramfs, "-append", args,
	), nil
}

// vm is a running QEMU process.
type vm struct {
	console console
	control control
	booted  chan struct{}

	bootLimit time.Duration
}

// run runs QEMU until the program's output and exit code are complete, QEMU exits, the boot takes
// too long, or ctx is done. It leaves no process behind.
func (v *vm) run(ctx context.Context, args []string) (int, error) {
	cmd := exec.CommandContext(ctx, qemu, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	// Ctrl-C is for this process, which then stops the VM.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	consoleR, consoleW, err := os.Pipe()
	if err != nil {
		return exitLab, err
	}
	defer consoleR.Close()
	controlR, controlW, err := os.Pipe()
	if err != nil {
		consoleW.Close()
		return exitLab, err
	}
	defer controlR.Close()
	cmd.ExtraFiles = []*os.File{consoleW, controlW}
	err = cmd.Start()
	consoleW.Close()
	controlW.Close()
	if err != nil {
		return exitLab, err
	}

	// Both readers end when QEMU exits, because the pipes close.
	reads := make(chan error, 2)
	go func() { reads <- v.console.read(consoleR) }()
	go func() { reads <- v.control.read(controlR) }()
	boot := time.AfterFunc(v.bootLimit, func() {
		select {
		case <-v.booted:
		default:
			_ = cmd.Process.Kill()
		}
	})
	err = errors.Join(<-reads, <-reads)
	slow := !boot.Stop()
	_ = cmd.Process.Kill() // it may have exited
	_ = cmd.Wait()         // its exit code says nothing about the guest
	select {
	case <-v.booted:
		slow = false
	default:
	}
	switch {
	case err != nil:
		return exitLab, err
	case v.console.ended && v.control.done:
		return v.control.code, nil
	case ctx.Err() != nil:
		return exitLab, ctx.Err()
	case slow:
		return exitLab, fmt.Errorf("%w within %v%s", errNotBooted, v.bootLimit, v.console.lastWords())
	}
	return exitLab, errors.Join(errors.New("the VM ended before the program did"+v.console.lastWords()),
		qemuError(complaint.String()))
}

// qemuError returns QEMU's error output as an error, nil if there is none.
func qemuError(text string) error {
	if text = strings.TrimSpace(text); text != "" {
		return errors.New(text)
	}
	return nil
}
