//go:build lab

package kernel_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	oracle "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// rawState is the state that a read-only command must not change. It is read with another netlink
// library and numbers from linux/openvswitch.h.
type rawState struct {
	Features []byte            // OVS_DP_ATTR_USER_FEATURES
	PIDs     map[string][]byte // OVS_VPORT_ATTR_UPCALL_PID by name
	Changes  []string          // notifications since the last call of look
}

// watcher reads the state of one datapath and the kernel's notifications.
type watcher struct {
	t               *testing.T
	name            string
	conn, notices   *oracle.Conn
	datapath, vport uint16
}

func newWatcher(t *testing.T, ns *lab.NetNS, dp string) *watcher {
	t.Helper()
	_, fam := dial(t, ns)
	w := &watcher{t: t, name: dp, datapath: fam.Datapath.ID, vport: fam.Vport.ID}
	for _, c := range []**oracle.Conn{&w.conn, &w.notices} {
		err := ns.Do(func() (err error) {
			*c, err = oracle.Dial(unix.NETLINK_GENERIC, nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*c).Close() })
	}
	for _, group := range []uint32{fam.Datapath.Groups["ovs_datapath"], fam.Vport.Groups["ovs_vport"]} {
		if err := w.notices.JoinGroup(group); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// get sends OVS_DP_CMD_GET or OVS_VPORT_CMD_GET, both 3, and returns the attributes of each answer.
func (w *watcher) get(family uint16, flags oracle.HeaderFlags, index uint32, attrs []byte) (lists [][]byte) {
	w.t.Helper()
	data := append([]byte{3, 1, 0, 0}, binary.NativeEndian.AppendUint32(nil, index)...)
	answers, err := w.conn.Execute(oracle.Message{
		Header: oracle.Header{Type: oracle.HeaderType(family), Flags: oracle.Request | flags},
		Data:   append(data, attrs...),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range answers {
		lists = append(lists, a.Data[4:])
	}
	return lists
}

// attribute returns an attribute of an answer that starts with ovs_header.
func (w *watcher) attribute(answer []byte, typ uint16) []byte {
	w.t.Helper()
	list, err := oracle.UnmarshalAttributes(answer[4:])
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range list {
		if a.Type == typ {
			return a.Data
		}
	}
	return nil
}

func (w *watcher) look() rawState {
	w.t.Helper()
	name, err := oracle.MarshalAttributes([]oracle.Attribute{{Type: 1, Data: append([]byte(w.name), 0)}})
	if err != nil {
		w.t.Fatal(err)
	}
	dp := w.get(w.datapath, 0, 0, name)[0]
	s := rawState{Features: w.attribute(dp, 5), PIDs: map[string][]byte{}}
	for _, port := range w.get(w.vport, oracle.Dump, binary.NativeEndian.Uint32(dp), nil) {
		s.PIDs[string(bytes.TrimRight(w.attribute(port, 3), "\x00"))] = w.attribute(port, 5)
	}
	for {
		raw, err := w.notices.SyscallConn()
		if err != nil {
			w.t.Fatal(err)
		}
		buf, n := make([]byte, 64<<10), 0
		var recvErr error
		err = raw.Control(func(fd uintptr) { n, _, recvErr = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT) })
		if err != nil || recvErr != nil && recvErr != unix.EAGAIN {
			w.t.Fatal(err, recvErr)
		}
		if recvErr != nil {
			return s
		}
		s.Changes = append(s.Changes, fmt.Sprintf("family %d command %d", binary.NativeEndian.Uint16(buf[4:n]), buf[16]))
	}
}

// unchanged checks that run does not change the datapath.
func (w *watcher) unchanged(what string, run func()) {
	w.t.Helper()
	before := w.look()
	before.Changes = nil
	run()
	if diff := cmp.Diff(before, w.look()); diff != "" {
		w.t.Errorf("%s changes the datapath:\n%s", what, diff)
	}
}

// becomes waits until get returns the wanted state. After waitLimit, in which stalls of the guest
// do not count, it fails the test with the difference.
func becomes[T any](t *testing.T, what string, want T, get func() T) {
	t.Helper()
	for within := lab.Within(waitLimit); ; time.Sleep(20 * time.Millisecond) {
		diff := cmp.Diff(want, get(), cmpopts.EquateEmpty())
		if diff == "" {
			return
		}
		if within.Passed() {
			t.Fatalf("not within %v: %s (-want +got):\n%s", waitLimit, what, diff)
		}
	}
}

// TestWatcherSeesFlip checks that unchanged can fail.
func TestWatcherSeesFlip(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	needFlip(t, dpif.FeatureUnaligned|dpif.FeatureVportPIDs)
	n := newQuietNetwork(t, 1)
	newDatapath(t, n.sw, n.dpName)
	w := newWatcher(t, n.sw, n.dpName)
	before := w.look()
	n.sw.DPCtl(t, "show", n.dpName)
	after := w.look()
	if cmp.Equal(before.Features, after.Features) || len(after.Changes) == 0 {
		t.Errorf("ovs-dpctl show changes nothing: before %+v, after %+v", before, after)
	}
}
