//go:build lab

package lab

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NetNS is a network namespace created for one test.
type NetNS struct {
	// Name is the name below /run/netns, as used by `ip netns` and the daemon's configuration.
	Name string

	handle netns.NsHandle
}

// Path returns the path of the namespace.
func (n *NetNS) Path() string { return "/run/netns/" + n.Name }

// NewNetNS creates a namespace with its loopback device up. It is deleted, with all devices and
// datapaths in it, when the test ends.
func NewNetNS(t testing.TB, hint string) *NetNS {
	t.Helper()
	n := &NetNS{Name: Name(hint)}
	err := onThread(func() error {
		h, err := netns.NewNamed(n.Name)
		if err != nil {
			return fmt.Errorf("create namespace %s: %w", n.Name, err)
		}
		n.handle = h
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("namespace %s: lo: %w", n.Name, err)
		}
		return netlink.LinkSetUp(lo)
	})
	t.Cleanup(func() {
		if n.handle.IsOpen() {
			if err := n.handle.Close(); err != nil {
				t.Errorf("close namespace %s: %v", n.Name, err)
			}
		}
		if err := netns.DeleteNamed(n.Name); err != nil && !os.IsNotExist(err) {
			t.Errorf("delete namespace %s: %v", n.Name, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Do calls fn on a thread inside the namespace and returns its error. Sockets that fn opens and
// processes that it starts stay in the namespace; goroutines that it starts run outside.
func (n *NetNS) Do(fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.Name, err)
		}
		return fn()
	})
}

// onThread calls fn on a separate thread, which may change its namespace: afterwards it returns to
// the former one, or ends with its goroutine.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("current namespace: %w", err)
			return
		}
		defer home.Close()
		err = fn()
		if back := netns.Set(home); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// End is one side of a veth pair.
type End struct {
	NS   *NetNS
	Name string
	// MAC is the hardware address, "" for a random one.
	MAC string
	// Addrs are IPv4 and IPv6 addresses with prefix lengths, such as "10.0.0.1/24". IPv6 addresses
	// are usable at once.
	Addrs []string
	// MTU in bytes, 0 for the kernel's default.
	MTU int
}

// Veth creates a veth pair between two namespaces and brings both ends up. It is deleted with
// either namespace.
func Veth(t testing.TB, a, b End) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.Name
	err := a.NS.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:     attrs,
			PeerName:      b.Name,
			PeerNamespace: netlink.NsFd(int(b.NS.handle)),
		})
	})
	if err != nil {
		t.Fatalf("veth %s in %s to %s in %s: %v", a.Name, a.NS.Name, b.Name, b.NS.Name, err)
	}
	for _, e := range []End{a, b} {
		if err := e.NS.Do(e.setUp); err != nil {
			t.Fatalf("veth %s in %s: %v", e.Name, e.NS.Name, err)
		}
	}
}

func (e End) setUp() error {
	link, err := netlink.LinkByName(e.Name)
	if err != nil {
		return err
	}
	if e.MAC != "" {
		mac, err := net.ParseMAC(e.MAC)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
			return fmt.Errorf("MAC %s: %w", e.MAC, err)
		}
	}
	if e.MTU != 0 {
		if err := netlink.LinkSetMTU(link, e.MTU); err != nil {
			return fmt.Errorf("MTU %d: %w", e.MTU, err)
		}
	}
	// Duplicate address detection would keep the link-local address tentative for a second. A
	// kernel without IPv6 has no such file.
	dad := "/proc/sys/net/ipv6/conf/" + e.Name + "/accept_dad"
	if err := os.WriteFile(dad, []byte("0"), 0o644); err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, s := range e.Addrs {
		addr, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s: %w", s, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// Host creates a namespace with one device, eth0, whose peer is port in the namespace sw: a host
// connected to a switch. The host's end has addrs and mac ("" for a random one).
func Host(t testing.TB, sw *NetNS, port, mac string, addrs ...string) *NetNS {
	t.Helper()
	h := NewNetNS(t, port)
	Veth(t, End{NS: sw, Name: port}, End{NS: h, Name: "eth0", MAC: mac, Addrs: addrs})
	return h
}

// SetLink brings a device in the namespace up or down.
func (n *NetNS) SetLink(t testing.TB, name string, up bool) {
	t.Helper()
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if up {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
	if err != nil {
		t.Fatalf("set link %s in %s up=%v: %v", name, n.Name, up, err)
	}
}

// DeleteLink deletes a device in the namespace, and a veth's peer with it.
func (n *NetNS) DeleteLink(t testing.TB, name string) {
	t.Helper()
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	if err != nil {
		t.Fatalf("delete link %s in %s: %v", name, n.Name, err)
	}
}

// Ifindex returns the index of a device in the namespace.
func (n *NetNS) Ifindex(t testing.TB, name string) int {
	t.Helper()
	index := 0
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			index = link.Attrs().Index
		}
		return err
	})
	if err != nil {
		t.Fatalf("device %s in %s: %v", name, n.Name, err)
	}
	return index
}

// FD returns the namespace's descriptor, which the NetNS still owns.
func (n *NetNS) FD() int { return int(n.handle) }

// SetIPv6 enables or disables IPv6 on devices created in the namespace from now on. Without it they
// send no router solicitations and the like.
func (n *NetNS) SetIPv6(on bool) error {
	disable := "1"
	if on {
		disable = "0"
	}
	return n.Do(func() error {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte(disable), 0o644)
		if os.IsNotExist(err) {
			return nil // a kernel without IPv6
		}
		return err
	})
}
