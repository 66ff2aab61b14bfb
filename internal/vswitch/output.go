package vswitch

import (
	"fmt"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Frame is an Ethernet frame to be sent out of a port.
type Frame struct {
	Port odp.PortNo
	Data []byte
}

// Output sends frames out of ports of the datapath, independent of its flows. The error is the
// kernel's first error; the other frames are sent. It may be called from any goroutine while the
// Server is open.
func (s *Server) Output(frames []Frame) error {
	if len(frames) == 0 {
		return nil
	}
	s.statistics.mu.Lock()
	defer s.statistics.mu.Unlock()
	b := s.statistics.dp.NewBatch()
	var key, actions netlink.Encoder
	for _, f := range frames {
		key.Clear()
		odp.AppendInPort(&key, f.Port)
		actions.Clear()
		odp.AppendOutput(&actions, f.Port)
		u := dpif.Upcall{Key: key.Bytes(), Packet: f.Data}
		b.Execute(&u, actions.Bytes())
	}
	var first error
	err := s.statistics.dp.Transact(b, func(i int, _ *dpif.Flow, err error) {
		if err != nil && first == nil {
			first = fmt.Errorf("output to port %d: %w", frames[i].Port, err)
		}
	})
	if err == nil {
		err = first
	}
	return err
}

// Revalidate makes the revalidator's next cycle begin at once. It may be called from any
// goroutine while the Server is open.
func (s *Server) Revalidate() { s.revalidator.Wake() }
