package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const (
	sender, receiver = "sender", "receiver" // namespaces
	// Addresses of the first sending device and of the receiving one.
	clientAddr, serverAddr = "10.0.0.1", "10.0.0.2"

	linkLimit = 20 * time.Second // time until a new link forwards
)

// network is the topology of a whole run: devices p1 to pN for the datapath, each one end of a veth
// pair whose other end, of the same name, is in the namespace of the sender; the ends of pN and of
// r, which only receives, are in the namespace of the receiver.
type network struct {
	sender, receiver netns.NsHandle
	senders          []string // devices
	nice             int      // nice value that switches run with
}

const receiving = "r"

// newNetwork creates ports-1 sending devices and the receiving one.
func newNetwork(ports int) (*network, error) {
	n := &network{}
	if err := disableIPv6(); err != nil {
		return nil, err
	}
	// The per-CPU backlog queue between two devices, by default 1,000 frames, must not limit the
	// measurement.
	if err := os.WriteFile("/proc/sys/net/core/netdev_max_backlog", []byte("100000"), 0o644); err != nil {
		return nil, err
	}
	var err error
	if n.sender, err = newNamespace(sender); err != nil {
		return nil, err
	}
	if n.receiver, err = newNamespace(receiver); err != nil {
		return nil, err
	}
	for i := 1; i < ports; i++ {
		n.senders = append(n.senders, fmt.Sprintf("p%d", i))
	}
	for _, name := range n.senders {
		if err := plug(name, n.sender); err != nil {
			return nil, err
		}
	}
	if err := plug(receiving, n.receiver); err != nil {
		return nil, err
	}
	for _, name := range n.ports(ports) {
		if err := awaitUp(name); err != nil {
			return nil, err
		}
	}
	if err := addAddress(n.sender, n.senders[0], clientAddr); err != nil {
		return nil, err
	}
	return n, addAddress(n.receiver, receiving, serverAddr)
}

// ports returns the devices of a datapath with count ports; the receiving one is the last.
func (n *network) ports(count int) []string {
	return append(append([]string{}, n.senders[:count-1]...), receiving)
}

// plug creates a veth pair.
func plug(name string, ns netns.NsHandle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.MTU = 9000
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(int(ns)), PeerMTU: 9000}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("veth %s: %w", name, err)
	}
	up := func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	if err := errors.Join(up(), inside(ns, up)); err != nil {
		return fmt.Errorf("veth %s: %w", name, err)
	}
	return nil
}

// awaitUp waits until a link forwards: the kernel activates a new link's queue
// up to a second after it came up.
func awaitUp(name string) error {
	return await(linkLimit, "link "+name+" not up", func() (bool, error) {
		b, err := os.ReadFile("/sys/class/net/" + name + "/operstate")
		return strings.TrimSpace(string(b)) == "up", err
	})
}

func addAddress(ns netns.NsHandle, device, addr string) error {
	return inside(ns, func() error {
		l, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr + "/24")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, a)
	})
}

// newNamespace creates a named namespace; the process stays in its own.
func newNamespace(name string) (netns.NsHandle, error) {
	var h netns.NsHandle
	err := onThread(func() error {
		var err error
		if h, err = netns.NewNamed(name); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
		return disableIPv6()
	})
	return h, err
}

// disableIPv6 prevents devices of the thread's namespace from sending packets by themselves; a new
// namespace has its own defaults. Each multicast is flooded: from a thousand devices to as many
// ports, that is a million frames each time.
func disableIPv6() error {
	for _, scope := range []string{"default", "all"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// inside calls fn on a thread in the namespace. Sockets that fn opens stay there.
func inside(ns netns.NsHandle, fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return err
		}
		return fn()
	})
}

// onThread calls fn on a new thread that ends afterwards.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// await polls until done returns true, for at most limit. what describes the state until then.
func await(limit time.Duration, what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return &lateError{what, limit}
		}
	}
}

// lateError says what did not happen in time.
type lateError struct {
	what  string
	limit time.Duration
}

func (e *lateError) Error() string { return fmt.Sprintf("%s within %.0f s", e.what, e.limit.Seconds()) }
