package dpif

import (
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// HasDrop reports whether the kernel has an action that drops packets (Linux 6.7), by executing it
// on a packet. It does not return the error of a kernel without it.
func (d *Datapath) HasDrop() bool {
	var key, actions netlink.Encoder
	odp.AppendInPort(&key, 0)
	odp.AppendDrop(&actions, 0)
	b := d.NewBatch()
	u := Upcall{Key: key.Bytes(), Packet: make([]byte, 60)}
	return b.Execute(&u, actions.Bytes()) && d.one(b, "execute drop") == nil
}
