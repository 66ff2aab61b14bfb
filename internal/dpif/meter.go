package dpif

import (
	"errors"
	"fmt"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Meter limits packets per second: the action that names the meter drops packets that exceed
// it.
type Meter struct {
	ID uint32
	// PacketsPerSecond is the rate, and the size of a burst that passes.
	PacketsPerSecond uint32
}

// ErrNoMeters means that the kernel has no working meters: Linux before 4.15 has none, and
// before 4.18 keeps only one.
var ErrNoMeters = errors.New("the kernel has no meters that work")

// SetMeter creates a meter, or sets the rate of an existing one. The error matches ErrNoMeters
// if the kernel has no working meters.
func (d *Datapath) SetMeter(m Meter) error {
	if d.fam.Meter == nil {
		return fmt.Errorf("datapath %s: family %s: %w", d.name, familyMeter, ErrNoMeters)
	}
	d.begin(d.fam.Meter, meterCmdSet, 0)
	d.enc.Uint32(meterAttrID, m.ID)
	d.enc.Nested(meterAttrBands, func(e *netlink.Encoder) {
		e.Nested(bandAttrUnspec, func(e *netlink.Encoder) {
			e.Uint32(bandAttrType, bandTypeDrop)
			e.Uint32(bandAttrRate, m.PacketsPerSecond)
			e.Uint32(bandAttrBurst, m.PacketsPerSecond)
		})
	})
	if _, err := d.transact(); err != nil {
		return fmt.Errorf("datapath %s: set meter %d: %w", d.name, m.ID, err)
	}
	// Linux 4.15 to 4.17 confirm each meter and keep the first.
	_, _, err := d.MeterStats(m.ID)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w", ErrNoMeters, err)
	}
	return err
}

// MeterStats returns the packets and bytes that reached a meter, including those that it
// dropped. The error matches ENOENT if there is none.
func (d *Datapath) MeterStats(id uint32) (packets, bytes uint64, err error) {
	if d.fam.Meter == nil {
		return 0, 0, fmt.Errorf("datapath %s: family %s: %w", d.name, familyMeter, ErrNoMeters)
	}
	d.begin(d.fam.Meter, meterCmdGet, 0)
	d.enc.Uint32(meterAttrID, id)
	r, err := d.transact()
	found := false
	it := netlink.NewAttrs(r.attrs)
	for it.Next() {
		switch it.Type() {
		case meterAttrID:
			found = it.Uint32() == id
		case meterAttrStats:
			packets, bytes = field64(it.Data(), 0), field64(it.Data(), 8)
		}
	}
	if err == nil {
		err = it.Err()
	}
	if err == nil && !found {
		err = unix.ENOENT
	}
	if err != nil {
		return 0, 0, fmt.Errorf("datapath %s: meter %d: %w", d.name, id, err)
	}
	return packets, bytes, nil
}

// DeleteMeter removes a meter. Actions that name it then pass everything.
func (d *Datapath) DeleteMeter(id uint32) error {
	if d.fam.Meter == nil {
		return nil
	}
	d.begin(d.fam.Meter, meterCmdDel, 0)
	d.enc.Uint32(meterAttrID, id)
	if _, err := d.transact(); err != nil {
		return fmt.Errorf("datapath %s: delete meter %d: %w", d.name, id, err)
	}
	return nil
}
