package fdstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// stage selects the role of this process in TestExec.
const stage = "FDSTORE_TEST_STAGE"

func TestMain(m *testing.M) {
	switch os.Getenv(stage) {
	case "before":
		os.Exit(before())
	case "after":
		os.Exit(after())
	}
	goleak.VerifyTestMain(m)
}

func TestParse(t *testing.T) {
	const pid = 4711
	many := strconv.Itoa(pid)
	for fd := range 2 * MaxDescriptors {
		many += " " + strconv.Itoa(fd)
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		want string // "FD=NAME ..."; "N descriptors" for many
	}{
		{"nothing", nil, ""},
		{"manager", map[string]string{envPID: "4711", envCount: "3", envNames: "va@1:vb@2:c"}, "3=va@1 4=vb@2 5=c"},
		{"fewer names", map[string]string{envPID: "4711", envCount: "2", envNames: "va@1"}, "3=va@1 4="},
		{"more names", map[string]string{envPID: "4711", envCount: "1", envNames: "x:y:z"}, "3=x"},
		{"another process", map[string]string{envPID: "4712", envCount: "3"}, ""},
		{"no process", map[string]string{envCount: "3"}, ""},
		{"negative", map[string]string{envPID: "4711", envCount: "-5"}, ""},
		{"no number", map[string]string{envPID: "4711", envCount: "three"}, ""},
		{"absurd", map[string]string{envPID: "4711", envCount: "999999999"}, "4096 descriptors"},
		{"overflow", map[string]string{envPID: "4711", envCount: "99999999999999999999"}, ""},
		{"exec", map[string]string{envExec: "4711 9 7"}, "9= 7="},
		{"exec of another", map[string]string{envExec: "4710 9 7"}, ""},
		{"exec with garbage", map[string]string{envExec: "4711 x 9 -1 2 9 1e3 12"}, "9= 12="},
		{"exec with many", map[string]string{envExec: many}, "4093 descriptors"},
		{"manager with states", map[string]string{envPID: "4711", envCount: "3", envNames: "va@1/9/8:v/b@2:c/d"}, "3=va@1/9/8[9/8] 4=v/b@2 5=c/d[d]"},
		{"exec with states", map[string]string{envExec: "4711 9=1/2/- 7= 8"}, "9=[1/2/-] 7= 8="},
		{"both", map[string]string{envPID: "4711", envCount: "1", envNames: "a", envExec: "4711 3 5"}, "3=a 5="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := parse(func(k string) string { return tt.env[k] }, pid)
			var words []string
			for _, d := range list {
				word := fmt.Sprintf("%d=%s", d.FD, d.Name)
				if d.State != "" {
					word += "[" + d.State + "]"
				}
				words = append(words, word)
			}
			got := strings.Join(words, " ")
			if len(list) > 100 {
				got = fmt.Sprintf("%d descriptors", len(list))
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1", "2", "a:b", "1 7 8")
	f.Add("1", "-1", "::", "1 1 1")
	f.Add("", "99999999999", "\x00", "x")
	f.Fuzz(func(t *testing.T, pid, count, names, passed string) {
		env := map[string]string{envPID: pid, envCount: count, envNames: names, envExec: passed}
		list := parse(func(k string) string { return env[k] }, 1)
		if len(list) > MaxDescriptors {
			t.Fatalf("%d descriptors", len(list))
		}
		seen := map[int]bool{}
		for _, d := range list {
			if d.FD < firstListenFD || seen[d.FD] {
				t.Fatalf("descriptor %d: below %d or twice", d.FD, firstListenFD)
			}
			seen[d.FD] = true
		}
	})
}

// TestInheritedLeavesOthersAlone: descriptors that this process opened itself, or that are closed,
// are not treated as passed.
func TestInheritedLeavesOthersAlone(t *testing.T) {
	own, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(own)
	passed, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(passed)
	t.Setenv(envExec, fmt.Sprintf("%d %d %d 1000000", os.Getpid(), own, passed))
	t.Setenv(envCount, "3")
	got := Inherited()
	if want := []Descriptor{{FD: passed}}; !slices.Equal(got, want) {
		t.Errorf("inherited %v, want %v", got, want)
	}
	if flags, err := unix.FcntlInt(uintptr(passed), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: children would inherit it", flags, err)
	}
	for _, name := range []string{envExec, envCount} {
		if _, there := os.LookupEnv(name); there {
			t.Errorf("%s is still in the environment", name)
		}
	}
	if again := Inherited(); again != nil {
		t.Errorf("a second time %v", again)
	}
}

// before is the process that calls Exec: it passes a netlink socket.
func before() int {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		return complain(err)
	}
	if err := Exec("/nonexistent/program", os.Args, []Descriptor{{FD: fd}}); !errors.Is(err, unix.ENOENT) ||
		!strings.Contains(err.Error(), "/nonexistent/program") {
		return complain(fmt.Errorf("exec of a missing program: %w", err))
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		return complain(fmt.Errorf("after a failed exec: descriptor flags %#x, %w", flags, err))
	}
	if err := Exec("/proc/self/exe", os.Args, make([]Descriptor, MaxDescriptors+1)); !errors.Is(err, unix.E2BIG) {
		return complain(fmt.Errorf("exec with too many descriptors: %w", err))
	}
	fmt.Println(os.Getpid(), portID(fd))
	os.Setenv(stage, "after")
	return complain(Exec("/proc/self/exe", os.Args, []Descriptor{{FD: fd, State: "2560/65536/256/17"}}))
}

// after is the program that replaces it.
func after() int {
	list := Inherited()
	if len(list) != 1 || list[0].State != "2560/65536/256/17" {
		return complain(fmt.Errorf("inherited %v", list))
	}
	// A signal stays pending until it is unblocked.
	if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
		return complain(err)
	}
	var pending unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, nil, &pending)
	if pending.Val[0]&signalSet().Val[0] != signalSet().Val[0] {
		return complain(fmt.Errorf("blocked signals %#x", pending.Val[0]))
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR2)
	select {
	case <-signals:
	case <-time.After(20 * time.Second):
		return complain(errors.New("the signal that was sent before does not arrive"))
	}
	fmt.Println(os.Getpid(), portID(list[0].FD))
	return 0
}

func portID(fd int) uint32 {
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	return addr.(*unix.SockaddrNetlink).Pid
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestExec: process and socket are the same before and after the exec.
func TestExec(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), stage+"=before", envExec+"=stale")
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != 2 || lines[0] != lines[1] || strings.HasSuffix(lines[0], " 0") {
		t.Errorf("%v: process and port id before and after exec:\n%s", err, out)
	}
}
