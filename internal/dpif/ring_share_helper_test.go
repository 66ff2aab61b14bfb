package dpif

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"dpifd/internal/genl"
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// boundedKernel is an emulated kernel that knows how much memory its rings take.
type boundedKernel struct {
	*ringtest.Kernel

	mu           sync.Mutex
	mapped, most int
	fail         unix.Errno // of the next mmap calls
}

func (k *boundedKernel) Mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != 0 {
		return nil, k.fail
	}
	b, err := k.Kernel.Mmap(fd, offset, length, prot, flags)
	if err == nil {
		k.mapped += length
		k.most = max(k.most, k.mapped)
	}
	return b, err
}

func (k *boundedKernel) Munmap(b []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mapped -= len(b)
	return k.Kernel.Munmap(b)
}

func (k *boundedKernel) refuseMmap(errno unix.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = errno
}

// vportTable is a kernel for request sockets that does what OVS_VPORT_CMD_SET
// asks for.
type vportTable struct {
	*ringtest.Requests
	t      testing.TB
	refuse func(no odp.PortNo) unix.Errno // answers a request where set
	change func(no odp.PortNo)            // called when a PID has changed

	mu   sync.RWMutex // held for reading while an upcall is on its way
	pids map[odp.PortNo]uint32
}

func (v *vportTable) Sendmsg(fd int, msg *unix.Msghdr, flags int) (int, error) {
	n, err := v.Requests.Sendmsg(fd, msg, flags)
	for _, sent := range v.Sent() {
		_, payload, _, splitErr := netlink.SplitMessage(sent.Data)
		r, parseErr := parseReply(payload)
		if splitErr != nil || parseErr != nil || r.cmd != cmdSet {
			v.t.Errorf("request %x", sent.Data)
			continue
		}
		var no odp.PortNo
		for it := netlink.NewAttrs(r.attrs); it.Next(); {
			switch it.Type() {
			case vportAttrPortNo:
				no = odp.PortNo(it.Uint32())
				if v.refuse != nil && v.refuse(no) != 0 {
					return 0, v.refuse(no)
				}
			case vportAttrUpcallPID:
				v.mu.Lock()
				v.pids[no] = it.Uint32()
				v.mu.Unlock()
			}
		}
		if v.change != nil {
			v.change(no)
		}
	}
	return n, err
}

// fullEpoll is an epoll that takes no more descriptors while full.
type fullEpoll struct {
	poller
	full bool
}

func (p *fullEpoll) Add(fd int, id uint32) error {
	if p.full {
		return unix.ENOSPC
	}
	return p.poller.Add(fd, id)
}

// shareBench is a server with one handler, on emulated kernels. Ports are looked
// at once a second of the test's own time.
type shareBench struct {
	*bench
	s      *Server
	k      *boundedKernel
	vports *vportTable
	said   *[]Event
	now    time.Duration
}

// newShareBench makes a bench whose memory limit has room for so many rings.
func newShareBench(t *testing.T, g mmapring.Geometry, rings int) *shareBench {
	t.Helper()
	k := &boundedKernel{Kernel: ringtest.New(ringtest.Config{})}
	b := &shareBench{bench: newBench(t, k), k: k, now: time.Hour}
	var err error
	b.s, b.said, err = ringServer(t, RingConfig{Mode: RingAuto, Geometry: g, MemoryLimit: uint64(rings) * g.Bytes(), Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	k.most = 0 // the probe's
	b.vports = &vportTable{Requests: ringtest.NewRequests(ringtest.Config{}), t: t, pids: map[odp.PortNo]uint32{}}
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{Kernel: b.vports})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		if limit := int(b.s.cfg.Ring.MemoryLimit); k.most > limit {
			t.Errorf("rings took %d bytes at a time, the limit is %d", k.most, limit)
		}
	})
	b.s.dp = &Datapath{conn: conn, fam: &Families{Vport: genl.Family{ID: unix.NLMSG_MIN_TYPE - 1, Version: 1}}, idx: testDPIndex}
	b.s.handlers = []*Handler{b.h}
	b.s.share = ringShare{interval: time.Second, grace: time.Second / 4}
	return b
}

// ports serves ports 1 to n, with rings as far as there is memory.
func (b *shareBench) ports(n int) []*channel {
	b.t.Helper()
	for i := range n {
		b.add(odp.PortNo(i + 1))
	}
	all := make([]*channel, n)
	for no, ch := range b.s.channels {
		all[no-1] = ch
	}
	return all
}

func (b *shareBench) add(no odp.PortNo) {
	g := mmapring.Geometry{}
	if b.s.ringFits() {
		g = b.s.cfg.Ring.Geometry
	}
	ch, _ := b.port(no, g)
	ch.claim.wanted = g.IsZero()
	b.s.ringBytes += ch.ringBytes
	b.s.channels[no], b.vports.pids[no] = ch, ch.portID()
}

// look lets an interval pass in which ports 1, 2, ... had so many upcalls.
func (b *shareBench) look(upcalls ...uint64) {
	b.t.Helper()
	for i, n := range upcalls {
		b.s.channels[odp.PortNo(i+1)].upcalls.Add(n)
	}
	if b.s.share.comparing {
		b.now += b.s.share.interval
	}
	b.s.shareRings(b.now)
}

// graceOver ends the grace periods that have begun, and those of what follows
// from that.
func (b *shareBench) graceOver() {
	b.t.Helper()
	for len(b.s.share.moves) > 0 {
		b.pass()
	}
}

func (b *shareBench) pass() {
	b.now += b.s.share.grace
	b.s.shareRings(b.now)
}

func (b *shareBench) withRing() (list []odp.PortNo) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for no, ch := range b.s.channels {
		if ch.transport() == netlink.Ring {
			list = append(list, no)
		}
	}
	slices.Sort(list)
	return list
}

func (b *shareBench) wantRings(when string, want ...odp.PortNo) {
	b.t.Helper()
	if got := b.withRing(); !slices.Equal(got, want) {
		b.t.Errorf("%s: ports %v have rings, want %v", when, got, want)
	}
	if n := uint64(len(want)) * b.s.cfg.Ring.Geometry.Bytes(); len(b.s.share.moves) == 0 && b.s.ringBytes != n {
		b.t.Errorf("%s: %d bytes counted, want %d", when, b.s.ringBytes, n)
	}
}

// wantSaid compares the events since the last call, other than TransportChanged.
func (b *shareBench) wantSaid(want ...string) {
	b.t.Helper()
	var got []string
	for _, e := range *b.said {
		switch e := e.(type) {
		case TransportChanged:
		case RingMoved:
			got = append(got, fmt.Sprintf("moved %s %d to %s %d in %v", e.From.Name, e.From.Upcalls, e.To.Name, e.To.Upcalls, e.Interval))
		case RingGranted:
			got = append(got, fmt.Sprintf("granted %s %d", e.To.Name, e.To.Upcalls))
		case RingDenied:
			got = append(got, fmt.Sprintf("denied %s: %v", e.Name, e.Err))
		default:
			got = append(got, fmt.Sprintf("%T", e))
		}
	}
	*b.said = nil
	if !slices.Equal(got, want) {
		b.t.Errorf("events %q, want %q", got, want)
	}
}

// send has the kernel send up one packet of the port, and reports whether it was
// queued somewhere.
func (b *shareBench) send(no odp.PortNo, seq uint64, size int) bool {
	msg := b.upcall(no, seq, size)
	b.vports.mu.RLock()
	defer b.vports.mu.RUnlock()
	s := b.k.Lookup(int(b.vports.pids[no]))
	return s != nil && s.Deliver(msg) == nil
}
