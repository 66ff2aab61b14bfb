package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/test/bench"

	"golang.org/x/sys/unix"
)

const (
	startLimit = 2 * time.Minute // for 1,000 ports
	stopLimit  = 30 * time.Second
	// macLimit is larger than the number of stations in the loads.
	macLimit = 65_536
	notReady = "not ready"
	dir      = "/tmp/bench"
	// configFile is for dpifd, dbSocket for ovsdb-server.
	configFile, dbSocket = dir + "/dpifd.yaml", "unix:" + dir + "/db.sock"
	datapath             = "dp0"
	// Open vSwitch's kernel datapath always has this name.
	ovsDatapath = "ovs-system"
)

// vswitch is a running switch.
type vswitch struct {
	name   string
	cmd    *exec.Cmd
	dead   chan struct{} // closed when the process has exited
	output output
	dp     *dpif.Datapath
	conn   *netlink.Conn
	also   *exec.Cmd // ovsdb-server

	setup setup
}

// output collects the output of a process.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// setup holds the parameters of a switch.
type setup struct {
	ports    []string
	maxIdle  time.Duration // of flows, 0 for the switch's default
	macs     int           // MAC limit, 0 for macLimit
	flows    int           // flow limit, 0 for the switch's default
	dispatch string        // for dpifd, "" for its default
	flood    bool          // the floor outputs to all ports
	nice     int           // of the switch's process
}

// floorArgs are the floor's arguments for one of its names.
func (u setup) floorArgs(name, dp string) []string {
	args := []string{bench.Floor}
	if mode, ok := strings.CutPrefix(name, bench.Floor+"-"); ok {
		args = append(args, "-m", mode)
	}
	if u.flood {
		args = append(args, "-f")
	}
	return append(append(args, dp), u.ports...)
}

// dpifdConfig is dpifd's configuration for a setup.
func (u setup) dpifdConfig() string {
	config := fmt.Sprintf("datapath: {name: %s, on_exit: delete}\nports: [{name: %s}]\n"+
		"policy: {type: learning, mac_limit: %d}\n",
		datapath, strings.Join(u.ports, "}, {name: "), cmp.Or(u.macs, macLimit))
	var flows []string
	if u.maxIdle > 0 {
		flows = append(flows, fmt.Sprintf("max_idle: %v", u.maxIdle))
	}
	if u.flows > 0 {
		flows = append(flows, fmt.Sprintf("limit: %d, max_dump: %v", u.flows, maxRevalidator))
	}
	if len(flows) > 0 {
		config += "flows: {" + strings.Join(flows, ", ") + "}\n"
	}
	if u.dispatch != "" {
		config += "dispatch: " + u.dispatch + "\n"
	}
	return config
}

// start starts a switch on a new datapath.
func start(name string, u setup) (*vswitch, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	name, program, other := strings.Cut(name, "=")
	if !other {
		program = bench.Dpifd
	}
	argv := strings.Fields(program)
	s := &vswitch{name: name, dead: make(chan struct{}), setup: u}
	var err error
	dp := datapath
	switch {
	case name == bench.Floor || name == bench.FloorReceive || name == bench.FloorExecute:
		err = s.run("ready\n", u.floorArgs(name, dp)...)
	case name == bench.Vswitchd:
		dp = ovsDatapath
		err = s.startOVS(u)
	case name == bench.Dpifd || other:
		if err := os.WriteFile(configFile, []byte(u.dpifdConfig()), 0o644); err != nil {
			return nil, err
		}
		err = s.run(`"event":"ready"`, slices.Concat(argv[:1], []string{"run", "--config", configFile}, argv[1:])...)
	default:
		err = fmt.Errorf("no switch is called %s", name)
	}
	if err == nil {
		s.conn, s.dp, err = openDatapath(dp)
	}
	if err != nil {
		if s.dp == nil {
			// Remove what was created before the failure, for the next switch.
			s.conn, s.dp, _ = openDatapath(dp)
		}
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// run starts the process and waits until it prints ready.
func (s *vswitch) run(ready string, argv ...string) error {
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := startNice(s.cmd, s.setup.nice); err != nil {
		return err
	}
	go func() {
		defer close(s.dead)
		_ = s.cmd.Wait() // its output shows why it exited
	}()
	return await(startLimit, notReady, func() (bool, error) {
		select {
		case <-s.dead:
			return false, fmt.Errorf("%s ended: %s", argv[0], s.output.String())
		default:
			return strings.Contains(s.output.String(), ready), nil
		}
	})
}

// startNice starts a process with a nice value, which it inherits from the thread that starts it.
func startNice(cmd *exec.Cmd, nice int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
		return fmt.Errorf("nice value %d: %w", nice, err)
	}
	return errors.Join(cmd.Start(), unix.Setpriority(unix.PRIO_PROCESS, 0, 0))
}

// startOVS starts ovsdb-server and ovs-vswitchd with one bridge.
func (s *vswitch) startOVS(u setup) error {
	db := filepath.Join(dir, "conf.db")
	if err := command("ovsdb-tool", "create", db, "/usr/share/openvswitch/vswitch.ovsschema"); err != nil {
		return err
	}
	s.also = exec.Command("ovsdb-server", db, "--remote=p"+dbSocket, "--unixctl="+filepath.Join(dir, "db.ctl"))
	s.also.Env = append(os.Environ(), "OVS_RUNDIR="+dir)
	if err := s.also.Start(); err != nil {
		return err
	}
	setup := []string{"--no-wait", "--", "init",
		"--", "set", "Open_vSwitch", ".", "other_config:flow-restore-wait=false",
		"--", "add-br", "br0",
		"--", "set", "Bridge", "br0", fmt.Sprintf("other_config:mac-table-size=%d", cmp.Or(u.macs, macLimit))}
	if u.maxIdle > 0 {
		setup = append(setup, "--", "set", "Open_vSwitch", ".",
			fmt.Sprintf("other_config:max-idle=%d", u.maxIdle.Milliseconds()))
	}
	if u.flows > 0 {
		setup = append(setup, "--", "set", "Open_vSwitch", ".", fmt.Sprintf("other_config:flow-limit=%d", u.flows),
			fmt.Sprintf("other_config:max-revalidator=%d", maxRevalidator.Milliseconds()))
	}
	for _, p := range u.ports {
		setup = append(setup, "--", "add-port", "br0", p)
	}
	if err := await(startLimit, notReady, func() (bool, error) {
		_, err := os.Stat(filepath.Join(dir, "db.sock"))
		return err == nil, nil
	}); err != nil {
		return err
	}
	if err := vsctl(setup...); err != nil {
		return err
	}
	if err := s.run("", "ovs-vswitchd", dbSocket, "--unixctl="+filepath.Join(dir, "vs.ctl")); err != nil {
		return err
	}
	// Returns when ovs-vswitchd has applied the database.
	if err := vsctl("set", "Open_vSwitch", ".", "external_ids:bench=ready"); err != nil || u.flows == 0 {
		return err
	}
	// Otherwise the limit would grow by 1,000 per cycle, and all flows would be deleted whenever
	// handlers exceed it.
	_, err := appctl("upcall/set-flow-limit", strconv.Itoa(u.flows))
	return err
}

// maxRevalidator is the setting max-revalidator of ovs-vswitchd, which then revalidates flows
// instead of deleting them: after a change it deletes flows used less than five times a second if
// the last dump took longer than half of max-revalidator, by default 500 ms. It is also the time
// between two dumps.
const maxRevalidator = 4 * time.Second

// vsctl changes the database and, unless --no-wait is among the arguments, waits until ovs-vswitchd
// has applied it.
func vsctl(args ...string) error {
	options := []string{fmt.Sprintf("--timeout=%.0f", startLimit.Seconds()), "--db=" + dbSocket}
	return command("ovs-vsctl", append(options, args...)...)
}

// setMaxIdle sets the idle time of flows in the running switch, to its default if d is 0.
func (s *vswitch) setMaxIdle(d time.Duration) error {
	s.setup.maxIdle = d
	if s.name == bench.Vswitchd {
		if d == 0 {
			return vsctl("remove", "Open_vSwitch", ".", "other_config", "max-idle")
		}
		return vsctl("set", "Open_vSwitch", ".", fmt.Sprintf("other_config:max-idle=%d", d.Milliseconds()))
	}
	return s.reload()
}

// setFlowLimit sets dpifd's flow limit. ovs-vswitchd gets its limit at start, since each change of
// its configuration makes it revalidate all flows.
func (s *vswitch) setFlowLimit(n int) error {
	if s.name == bench.Vswitchd {
		return nil
	}
	s.setup.flows = n
	return s.reload()
}

// reload makes dpifd reload its configuration.
func (s *vswitch) reload() error {
	if err := os.WriteFile(configFile, []byte(s.setup.dpifdConfig()), 0o644); err != nil {
		return err
	}
	reloads := func() int { return strings.Count(s.output.String(), `"event":"reloaded"`) }
	before := reloads()
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return await(stopLimit, "not reloaded", func() (bool, error) { return reloads() > before, nil })
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// openDatapath waits for the kernel datapath.
func openDatapath(name string) (*netlink.Conn, *dpif.Datapath, error) {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		return nil, nil, err
	}
	fam, err := dpif.ResolveFamilies(conn)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	dp, err := dpif.OpenDatapath(conn, fam, name)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, dp, nil
}

// stop stops the switch and removes its datapath.
func (s *vswitch) stop() error {
	var err error
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have exited
		select {
		case <-s.dead:
		case <-time.After(stopLimit):
			_ = s.cmd.Process.Kill()
			<-s.dead
			err = fmt.Errorf("%s did not stop within %v", s.name, stopLimit)
		}
	}
	if s.also != nil && s.also.Process != nil {
		_ = s.also.Process.Kill()
		_ = s.also.Wait()
	}
	if s.dp != nil {
		if e := s.dp.Delete(); !errors.Is(e, unix.ENODEV) {
			err = errors.Join(err, e)
		}
		s.conn.Close()
	}
	return err
}
