package ringtest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// childEnv passes the Config to the second process.
const childEnv = "RINGTEST_KERNEL"

// Descriptors of the second process.
const (
	childMemory = 3 + iota
	childWake
	childCalls
)

// Main must be called first in the TestMain of a test binary that uses Start. In the second process
// it is the kernel and does not return.
func Main() {
	conf := os.Getenv(childEnv)
	if conf == "" {
		return
	}
	if err := serve(conf); err != nil {
		fmt.Fprintln(os.Stderr, "ringtest: second process:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(conf string) error {
	var cfg Config
	if err := json.Unmarshal([]byte(conf), &cfg); err != nil {
		return err
	}
	conn, err := net.FileConn(os.NewFile(childCalls, "calls"))
	if err != nil {
		return err
	}
	s := newSocket(New(cfg), childWake, os.NewFile(childMemory, "ring"))
	server := rpc.NewServer()
	if err := server.RegisterName("Kernel", &Service{s}); err != nil {
		return err
	}
	server.ServeConn(&watched{conn, s}) // until the test closes its end and all calls have returned
	return nil
}

// watched stops the socket's traffic when the test has closed its end.
type watched struct {
	net.Conn
	s *Socket
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.s.stopped.Store(true)
	}
	return n, err
}

// Process is a kernel with one socket in a second process. Its methods are those of Kernel, for the
// descriptor FD only.
type Process struct {
	FD     int // an eventfd, written when the socket is woken
	memory *os.File
	calls  *rpc.Client
	child  *exec.Cmd
}

// Start runs the second process, which executes this binary again. It implies Config.Memfd.
func Start(cfg Config) (p *Process, err error) {
	if cfg.RcvBuf == 0 {
		cfg.RcvBuf = 212992
	}
	conf, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	memory, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p = &Process{FD: -1, memory: os.NewFile(uintptr(memory), "ring")}
	defer func() {
		if err != nil {
			_ = p.Stop()
		}
	}()
	if p.FD, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "calls"), os.NewFile(uintptr(pair[1]), "calls")
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	wake, err := unix.Dup(p.FD)
	if err != nil {
		return nil, err
	}
	wakeFile := os.NewFile(uintptr(wake), "wake")
	defer func() { _ = wakeFile.Close() }()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	p.calls = rpc.NewClient(conn)

	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childEnv+"="+string(conf))
	child.ExtraFiles = []*os.File{p.memory, wakeFile, theirs}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		return nil, err
	}
	p.child = child
	return p, nil
}

// Stop stops the second process.
func (p *Process) Stop() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if p.calls != nil {
		keep(p.calls.Close())
	}
	if p.child != nil {
		keep(p.child.Wait())
	}
	if p.FD >= 0 {
		keep(unix.Close(p.FD))
	}
	keep(p.memory.Close())
	return first
}

// call makes a remote call; an errno is returned as such.
func (p *Process) call(method string, args any, reply *Reply) error {
	if err := p.calls.Call("Kernel."+method, args, reply); err != nil {
		return err
	}
	if reply.Errno != 0 {
		return unix.Errno(reply.Errno)
	}
	return nil
}

// Socket is not supported: the only socket exists from the start.
func (p *Process) Socket(int, int, int) (int, error) { return -1, unix.EMFILE }

// Close is not supported: Stop closes the socket.
func (p *Process) Close(int) error { return unix.EBADF }

// Setsockopt is Kernel.Setsockopt.
func (p *Process) Setsockopt(_, level, opt int, value []byte) error {
	return p.call("Setsockopt", SetsockoptArgs{level, opt, value}, new(Reply))
}

// Mmap is Kernel.Mmap: the second process checks the arguments, and the memfd is mapped here.
func (p *Process) Mmap(_ int, offset int64, length, prot, flags int) ([]byte, error) {
	if err := p.call("Mmap", MmapArgs{offset, length}, new(Reply)); err != nil {
		return nil, err
	}
	return unix.Mmap(int(p.memory.Fd()), 0, length, prot, flags)
}

// Munmap is Kernel.Munmap.
func (p *Process) Munmap(b []byte) error {
	if err := unix.Munmap(b); err != nil {
		return err
	}
	return p.call("Munmap", 0, new(Reply))
}

// Sendmsg is Kernel.Sendmsg.
func (p *Process) Sendmsg(_ int, msg *unix.Msghdr, _ int) (int, error) {
	var r Reply
	err := p.call("Sendmsg", gather(msg), &r)
	return r.N, err
}

// Recv is Kernel.Recv.
func (p *Process) Recv(_ int, b []byte) (int, error) {
	var r Reply
	err := p.call("Recv", 0, &r)
	copy(b, r.Data)
	return r.N, err
}

// Poll is Kernel.Poll.
func (p *Process) Poll(int) (int16, error) {
	var r Reply
	err := p.call("Poll", 0, &r)
	return int16(r.N), err
}

// SoError is Kernel.SoError.
func (p *Process) SoError(int) (unix.Errno, error) {
	var r Reply
	err := p.call("SoError", 0, &r)
	return unix.Errno(r.N), err
}

// Stats returns the socket's counters.
func (p *Process) Stats() (Stats, error) {
	var r Reply
	err := p.call("Stats", 0, &r)
	return r.Stats, err
}

// Run runs the traffic in the second process and returns when it is complete.
func (p *Process) Run(t Traffic) error { return p.call("Run", t, new(Reply)) }

// Service is the second process's side of the calls.
type Service struct{ s *Socket }

// Arguments and results of the calls. Each call uses the fields that it needs.
type (
	SetsockoptArgs struct {
		Level, Opt int
		Value      []byte
	}
	MmapArgs struct {
		Offset int64
		Length int
	}
	Reply struct {
		N     int
		Data  []byte
		Stats Stats
		Errno uintptr
	}
)

// fail stores an errno in the reply; any other error is that of the call itself.
func (r *Reply) fail(err error) error {
	if errno, ok := err.(unix.Errno); ok {
		r.Errno = uintptr(errno)
		return nil
	}
	return err
}

// Setsockopt answers Process.Setsockopt.
func (v *Service) Setsockopt(a SetsockoptArgs, r *Reply) error {
	return r.fail(v.s.setsockopt(a.Level, a.Opt, a.Value))
}

// Mmap answers Process.Mmap.
func (v *Service) Mmap(a MmapArgs, r *Reply) error {
	return r.fail(v.s.mmapAllowed(a.Offset, a.Length))
}

// Munmap answers Process.Munmap.
func (v *Service) Munmap(_ int, _ *Reply) error {
	v.s.unmapped()
	return nil
}

// Sendmsg answers Process.Sendmsg.
func (v *Service) Sendmsg(a SendArgs, r *Reply) (err error) {
	r.N, err = v.s.sendmsg(a)
	return r.fail(err)
}

// Recv answers Process.Recv with the whole message.
func (v *Service) Recv(_ int, r *Reply) (err error) {
	buf := make([]byte, 1<<18)
	r.N, err = v.s.recv(buf)
	r.Data = buf[:r.N]
	return r.fail(err)
}

// Poll answers Process.Poll.
func (v *Service) Poll(_ int, r *Reply) error {
	r.N = int(v.s.poll())
	return nil
}

// SoError answers Process.SoError.
func (v *Service) SoError(_ int, r *Reply) error {
	r.N = int(v.s.soError())
	return nil
}

// Stats answers Process.Stats.
func (v *Service) Stats(_ int, r *Reply) error {
	r.Stats = v.s.Stats()
	return nil
}

// Run answers Process.Run.
func (v *Service) Run(t Traffic, _ *Reply) error {
	v.s.Run(t)
	return nil
}
