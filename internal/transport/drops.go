package transport

import (
	"errors"
	"sync"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// drops reads how many upcalls the kernel could not queue on sockets.
type drops struct {
	mu    sync.Mutex
	table *netlink.DropTable // nil if SO_MEMINFO reports drops
	byPID map[uint32]uint64
}

// open opens the table for kernels that do not report drops per socket.
func (d *drops) open() error {
	r, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{})
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.MemInfo(); !errors.Is(err, unix.ENOPROTOOPT) {
		return nil
	}
	d.table, err = netlink.OpenDropTable()
	d.byPID = map[uint32]uint64{}
	return err
}

func (d *drops) close() {
	if d.table != nil {
		d.table.Close()
	}
}

// ReadDrops updates the drop counter of each socket. Any goroutine may call it.
func (s *Sockets) ReadDrops(socks []*Socket) {
	s.drops.mu.Lock()
	defer s.drops.mu.Unlock()
	// If the table cannot be read, the overflows reported by the sockets count.
	table := s.drops.table != nil && s.drops.table.Read(unix.NETLINK_GENERIC, s.drops.byPID) == nil
	for _, sock := range socks {
		if table {
			sock.SetDrops(s.drops.byPID[sock.PortID()])
		} else {
			sock.ReadDrops()
		}
	}
}
