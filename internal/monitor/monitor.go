package monitor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"dpifd/internal/device"
	"dpifd/internal/dpif"
	"dpifd/internal/epoll"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Config selects what to listen to.
type Config struct {
	Links  bool
	Vports bool // datapaths too
	Flows  bool
	RcvBuf int // requested bytes per socket; 0 is DefaultRcvBuf
}

// DefaultRcvBuf holds a few thousand flow events.
const DefaultRcvBuf = 4 << 20

// Event is one event. One of the last four fields is set, or Overflow.
type Event struct {
	Time     time.Time // when it was received
	Op       dpif.NoticeOp
	Overflow string // the source, "links" or "datapaths", that dropped events

	DP       string // name of the datapath; "" for devices
	Link     *device.Link
	Datapath *dpif.DatapathInfo
	Vport    *dpif.Vport
	Flow     *dpif.Flow // borrowed until the call with the event returns
}

// source is one socket.
type source struct {
	name  string
	sock  *netlink.Receiver
	parse func(h netlink.Header, payload []byte) (Event, bool, error)
}

// Monitor listens to the kernel.
type Monitor struct {
	cfg     Config
	names   names
	sources []*source
	poller  *epoll.Poller
	batch   *netlink.Batch
	rings   bool // a source has one
}

const (
	// batchSize is the number of messages received at once.
	batchSize = 64
	// rescan limits the sleep with a ring: messages that the kernel aborted do not wake it.
	rescan = 500 * time.Millisecond
)

// Open subscribes. From then on changes become events when Run is called. The error matches
// dpif.ErrNoModule if there are no datapaths to listen to. The caller closes the Monitor.
func Open(cfg Config) (*Monitor, error) {
	if cfg.RcvBuf == 0 {
		cfg.RcvBuf = DefaultRcvBuf
	}
	m := &Monitor{cfg: cfg}
	err := m.open()
	if err == nil {
		err = m.names.read()
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Monitor) open() (err error) {
	if m.batch, err = netlink.NewBatch(batchSize); err != nil {
		return err
	}
	if m.poller, err = epoll.New(); err != nil {
		return err
	}
	if m.cfg.Links {
		if m.names.devices, err = device.Dial(); err != nil {
			return err
		}
		if err := m.openLinks(); err != nil {
			return fmt.Errorf("listen to devices: %w", err)
		}
	}
	if m.cfg.Vports || m.cfg.Flows {
		if err := m.openDatapaths(); err != nil {
			return fmt.Errorf("listen to datapaths: %w", err)
		}
	}
	return nil
}

func (m *Monitor) openLinks() error {
	cfg := netlink.ReceiverConfig{RcvBuf: m.cfg.RcvBuf}
	if mmapring.Probe(mmapring.RX) == nil {
		cfg.Ring = mmapring.DefaultGeometry()
	}
	sock, err := netlink.OpenReceiver(unix.NETLINK_ROUTE, cfg)
	if err != nil {
		return err
	}
	return m.add("links", sock, m.names.link, unix.RTNLGRP_LINK)
}

func (m *Monitor) openDatapaths() error {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: 1 << 20})
	if err != nil {
		return err
	}
	m.names.conn = conn
	if m.names.fam, err = dpif.ResolveFamilies(conn); err != nil {
		return err
	}
	datapath, vport, flow := m.names.fam.Groups()
	groups := []uint32{datapath, vport} // at least for names
	if m.cfg.Flows {
		groups = append(groups, flow)
	}
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{RcvBuf: m.cfg.RcvBuf})
	if err != nil {
		return err
	}
	return m.add("datapaths", sock, m.names.notice, groups...)
}

// add makes sock a source. The Monitor then owns it.
func (m *Monitor) add(name string, sock *netlink.Receiver,
	parse func(netlink.Header, []byte) (Event, bool, error), groups ...uint32) error {
	m.sources = append(m.sources, &source{name, sock, parse})
	m.rings = m.rings || sock.Transport() == netlink.Ring
	for _, g := range groups {
		if err := sock.Join(g); err != nil {
			return err
		}
	}
	return m.poller.Add(sock.FD(), uint32(len(m.sources)-1))
}

// Transport returns how events of devices are received, Linear if there are none.
func (m *Monitor) Transport() netlink.Transport {
	if m.rings {
		return netlink.Ring
	}
	return netlink.Linear
}

// Ports returns the names of the ports of the datapath with a name, nil if it does not exist.
func (m *Monitor) Ports(datapath string) Ports { return maps.Clone(m.names.find(datapath)) }

// Run calls each for every event until ctx ends, which is not an error, or each fails; and flush,
// which may be nil, whenever nothing more can be read. Events that are only needed for names are
// not passed to each.
func (m *Monitor) Run(ctx context.Context, each func(*Event) error, flush func() error) error {
	// A wake-up fails only if the poller is closed.
	stop := context.AfterFunc(ctx, func() { _ = m.poller.Wake() })
	defer stop()
	var events [2]epoll.Event
	timeout := time.Duration(-1)
	if m.rings {
		timeout = rescan
	}
	for {
		for _, s := range m.sources {
			if err := m.drain(ctx, s, each); err != nil {
				return err
			}
		}
		if flush != nil {
			if err := flush(); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if _, err := m.poller.Wait(events[:], timeout); err != nil {
			return err
		}
		for _, s := range m.sources {
			if err := m.endCongestion(s, each); err != nil {
				return err
			}
		}
	}
}

// endCongestion reads the error of a socket that overflowed, and polls an empty ring: only then the
// kernel uses COPY frames again.
func (m *Monitor) endCongestion(s *source, each func(*Event) error) error {
	if s.sock.SocketError() != nil {
		if err := m.overflow(s, each); err != nil {
			return err
		}
	}
	if s.sock.Transport() == netlink.Ring && !s.sock.Ready() {
		return s.sock.Poll()
	}
	return nil
}

// drain passes all queued events to each.
func (m *Monitor) drain(ctx context.Context, s *source, each func(*Event) error) error {
	for ctx.Err() == nil {
		n, err := s.sock.Receive(m.batch, batchSize)
		if errors.Is(err, unix.ENOBUFS) {
			if err := m.overflow(s, each); err != nil {
				return err
			}
			continue
		}
		if err == nil && n == 0 {
			return nil
		}
		for i := 0; i < n && err == nil; i++ {
			err = m.datagram(s, m.batch.Data(i), each)
		}
		m.batch.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// datagram passes the messages of one datagram to each. Malformed messages are ignored.
func (m *Monitor) datagram(s *source, b []byte, each func(*Event) error) error {
	now := time.Now()
	for len(b) > 0 {
		h, payload, rest, err := netlink.SplitMessage(b)
		if err != nil {
			return nil
		}
		b = rest
		ev, ok, err := s.parse(h, payload)
		if err != nil || !ok || !m.wanted(&ev) {
			continue
		}
		ev.Time = now
		if err := each(&ev); err != nil {
			return err
		}
	}
	return nil
}

// wanted reports whether an event was requested.
func (m *Monitor) wanted(ev *Event) bool {
	return ev.Link != nil || ev.Flow != nil || m.cfg.Vports
}

func (m *Monitor) overflow(s *source, each func(*Event) error) error {
	if err := m.names.read(); err != nil {
		return err
	}
	return each(&Event{Time: time.Now(), Overflow: s.name})
}

// Close ends the subscriptions.
func (m *Monitor) Close() error {
	var errs []error
	for _, s := range m.sources {
		errs = append(errs, s.sock.Close())
	}
	errs = append(errs, m.names.close())
	if m.poller != nil {
		errs = append(errs, m.poller.Close())
	}
	if m.batch != nil {
		errs = append(errs, m.batch.Close())
	}
	return errors.Join(errs...)
}
