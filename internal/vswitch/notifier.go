package vswitch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/epoll"
	"dpifd/internal/event"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// noticeBatch is the number of notifications received together.
const noticeBatch = 64

// ids of the notifier's epoll events.
const (
	sourceOVS = iota
	sourceLink
)

// iflaIfname is IFLA_IFNAME, linux/if_link.h; sizeofIfinfomsg is sizeof(struct ifinfomsg),
// linux/rtnetlink.h, and offIfiIndex the offset of its ifi_index.
const (
	iflaIfname      = 3
	sizeofIfinfomsg = 16
	offIfiIndex     = 4
)

// linkFilter reports whether a change of a device requires a look.
type linkFilter func(ifindex uint32, name string, deleted bool) bool

// noticeFilter reports whether a notification requires a look.
type noticeFilter func(h netlink.Header, payload []byte) bool

// notifier waits for notifications of the kernel. Their content is not used, only that a look
// is needed.
type notifier struct {
	dp        *dpif.Datapath
	links     linkFilter
	notify    event.Sink
	poller    *epoll.Poller
	ovs       *netlink.Receiver // groups ovs_vport and ovs_datapath
	link      *netlink.Receiver // RTNLGRP_LINK
	batch     *netlink.Batch
	requested atomic.Bool   // requestLook was called
	overflows atomic.Uint64 // notifications were lost
}

// openNotifier opens a notifier for dp. The caller closes it.
func openNotifier(dp *dpif.Datapath, links linkFilter, notify event.Sink) (*notifier, error) {
	n := &notifier{dp: dp, links: links, notify: notify}
	if err := n.open(); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *notifier) open() (err error) {
	if n.batch, err = netlink.NewBatch(noticeBatch); err != nil {
		return fmt.Errorf("port poll: %w", err)
	}
	if n.poller, err = epoll.New(); err != nil {
		return fmt.Errorf("port poll: %w", err)
	}
	datapaths, vports, _ := n.dp.Families().Groups()
	cfg := netlink.ReceiverConfig{RcvBuf: requestBuf}
	if n.ovs, err = netlink.OpenNotifier(unix.NETLINK_GENERIC, []uint32{vports, datapaths}, cfg); err != nil {
		return fmt.Errorf("port poll: %w", err)
	}
	if n.link, err = netlink.OpenNotifier(unix.NETLINK_ROUTE, []uint32{unix.RTNLGRP_LINK}, cfg); err != nil {
		return fmt.Errorf("link notifier: %w", err)
	}
	if err = n.poller.Add(n.ovs.FD(), sourceOVS); err == nil {
		err = n.poller.Add(n.link.FD(), sourceLink)
	}
	return err
}

// close is idempotent.
func (n *notifier) close() {
	for _, r := range []*netlink.Receiver{n.ovs, n.link} {
		if r != nil {
			r.Close()
		}
	}
	if n.poller != nil {
		n.poller.Close()
	}
	if n.batch != nil {
		n.batch.Close()
	}
}

// requestLook makes wait report at once that a look is needed. Any goroutine may call it.
func (n *notifier) requestLook() {
	n.requested.Store(true)
	n.wake()
}

// wake makes wait return. Any goroutine may call it.
func (n *notifier) wake() { _ = n.poller.Wake() } // it fails only when the poller is closed

// wait waits for notifications, at most for the timeout, and reports whether one of them, an
// overflow or requestLook requires a look.
func (n *notifier) wait(timeout time.Duration) (changed bool, err error) {
	var events [2]epoll.Event
	count, err := n.poller.Wait(events[:], timeout)
	if err != nil {
		return false, fmt.Errorf("port poll: %w", err)
	}
	changed = n.requested.Swap(false)
	for _, ev := range events[:count] {
		source, name, concerns := n.ovs, "ovs", noticeFilter(n.concernsDatapath)
		if ev.ID == sourceLink {
			source, name, concerns = n.link, "link", n.concernsLink
		}
		concerned, err := n.drain(source, name, concerns)
		if err != nil {
			return false, err
		}
		changed = changed || concerned
	}
	return changed, nil
}

// drain reads all queued notifications, and reports whether one of them, or an overflow,
// requires a look.
func (n *notifier) drain(r *netlink.Receiver, source string, concerns noticeFilter) (changed bool, err error) {
	for {
		count, err := r.Receive(n.batch, noticeBatch)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			n.overflows.Add(1)
			n.notify(NotifierOverflow{Source: source})
			changed = true
			continue
		case err != nil:
			return changed, fmt.Errorf("%s notifier: %w", source, err)
		case count == 0:
			return changed, nil
		}
		for i := range count {
			h, payload, _, err := netlink.SplitMessage(n.batch.Data(i))
			changed = changed || err != nil || concerns(h, payload)
		}
		n.batch.Release()
	}
}

// concernsDatapath reports whether a notification of the ovs groups is about
// this datapath.
func (n *notifier) concernsDatapath(_ netlink.Header, payload []byte) bool {
	return n.dp.ConcernedBy(payload)
}

// concernsLink reports whether a link notification requires a look.
func (n *notifier) concernsLink(h netlink.Header, payload []byte) bool {
	if h.Type != unix.RTM_NEWLINK && h.Type != unix.RTM_DELLINK || len(payload) < sizeofIfinfomsg {
		return false
	}
	it := netlink.NewAttrs(payload[sizeofIfinfomsg:])
	for it.Next() {
		if it.Type() == iflaIfname {
			index := binary.NativeEndian.Uint32(payload[offIfiIndex:])
			return n.links(index, it.String(), h.Type == unix.RTM_DELLINK)
		}
	}
	return false
}

// counters returns the sum of the sockets' counters.
func (n *notifier) counters() netlink.Counters {
	c := n.ovs.Counters()
	c.Add(n.link.Counters())
	return c
}
