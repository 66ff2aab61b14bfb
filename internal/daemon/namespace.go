package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// InNetns runs fn on a thread of its own in the network namespace: a name
// below /run/netns, an absolute path, or "" for the process's own. Sockets
// that fn opens on its goroutine belong to the namespace.
func InNetns(name string, fn func() error) error {
	if name == "" {
		return fn()
	}
	var ns netns.NsHandle
	var err error
	if filepath.IsAbs(name) {
		ns, err = netns.GetFromPath(name)
	} else {
		ns, err = netns.GetFromName(name)
	}
	if err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	defer ns.Close()
	done := make(chan error)
	go func() {
		// Not unlocked: the thread is of no use to others and ends with the
		// goroutine.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace %q: %w", name, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// currentNamespace names the network namespace of the calling thread, as in
// net:[4026531840].
func currentNamespace() (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
}

// namespaceNumber is the number in a namespace's name.
func namespaceNumber(namespace string) string {
	return strings.TrimSuffix(strings.TrimPrefix(namespace, "net:["), "]")
}
