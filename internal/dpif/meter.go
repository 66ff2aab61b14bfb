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
var ErrNoMeters = errors.New("the kernel has no working meters")

// SetMeter creates a meter, or sets the rate of an existing one. The error matches ErrNoMeters
// if the kernel has no working meters.
func (d *Datapath) SetMeter(m Meter) error {
	if d.fam.Meter == nil {
		return fmt.Errorf("datapath %s: family %s: %w", d.name, familyMeter, ErrNoMeters)
	}
	var err error
	// Linux 4.15 to 4.17 confirm each meter and keep the first. If a meter is missing only once,
	// another program may have deleted it.
	for range 2 {
		if err = d.putMeter(m); err != nil {
			return err
		}
		if _, err = d.MeterStats(m.ID); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrNoMeters, err)
}

func (d *Datapath) putMeter(m Meter) error {
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
	return nil
}

// MeterStats are a meter's counters since it was created or its rate was set.
type MeterStats struct {
	Packets, Bytes uint64 // that passed through the meter
	Dropped        uint64 // of these packets
}

// MeterStats returns a meter's counters. The error matches ENOENT if there is none.
func (d *Datapath) MeterStats(id uint32) (s MeterStats, err error) {
	if d.fam.Meter == nil {
		return s, fmt.Errorf("datapath %s: family %s: %w", d.name, familyMeter, ErrNoMeters)
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
			s.Packets, s.Bytes = field64(it.Data(), 0), field64(it.Data(), 8)
		case meterAttrBands:
			bands := netlink.NewAttrs(it.Data())
			for bands.Next() {
				s.Dropped += field64(netlink.FindAttr(bands.Data(), bandAttrStats), 0)
			}
		}
	}
	if err == nil {
		err = it.Err()
	}
	if err == nil && !found {
		err = unix.ENOENT
	}
	if err != nil {
		return MeterStats{}, fmt.Errorf("datapath %s: meter %d: %w", d.name, id, err)
	}
	return s, nil
}

// DeleteMeter removes a meter. Actions that name it then pass all packets.
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
