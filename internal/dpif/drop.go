package dpif

import (
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// HasDrop reports whether the kernel has an action that drops packets (Linux 6.7), by
// having it drop one. The error of a kernel without is not told.
func (d *Datapath) HasDrop() bool {
	var key, actions netlink.Encoder
	odp.AppendInPort(&key, 0)
	odp.AppendDrop(&actions, 0)
	b := d.NewBatch()
	u := Upcall{Key: key.Bytes(), Packet: make([]byte, 60)}
	return b.Execute(&u, actions.Bytes()) && d.one(b, "execute drop") == nil
}
