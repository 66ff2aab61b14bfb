// Package netns runs code in network namespaces and names them.
package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Do runs fn on a separate thread in the network namespace: a name below /run/netns, an
// absolute path, or "" for the namespace of the process. Sockets that fn opens on its goroutine
// belong to the namespace.
func Do(name string, fn func() error) error {
	if name == "" {
		return fn()
	}
	var ns vnetns.NsHandle
	var err error
	if filepath.IsAbs(name) {
		ns, err = vnetns.GetFromPath(name)
	} else {
		ns, err = vnetns.GetFromName(name)
	}
	if err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	defer ns.Close()
	done := make(chan error)
	go func() {
		// Not unlocked: the thread cannot be reused and ends with the goroutine.
		runtime.LockOSThread()
		if err := vnetns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace %q: %w", name, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// Current returns the name of the calling thread's network namespace, as in net:[4026531840].
func Current() (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
}

// Number is the number in a namespace's name.
func Number(namespace string) string {
	return strings.TrimSuffix(strings.TrimPrefix(namespace, "net:["), "]")
}
