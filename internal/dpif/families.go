package dpif

import (
	"errors"
	"fmt"

	"dpifd/internal/genl"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Families holds the generic netlink families of the openvswitch module. Their ids change when
// the module is loaded again.
type Families struct {
	Datapath, Vport, Flow, Packet genl.Family
	// Meter (Linux >= 4.15) and CTLimit (>= 4.18) are nil if the kernel lacks them.
	Meter, CTLimit *genl.Family
}

// ErrNoModule means that the kernel has no openvswitch families.
var ErrNoModule = errors.New("the kernel has no openvswitch datapath (module openvswitch is not loaded)")

// ResolveFamilies looks up the families. The kernel itself tries to load the module at the first
// look-up. The error matches ErrNoModule if the module is missing.
func ResolveFamilies(c *netlink.Conn) (*Families, error) {
	var f Families
	for _, r := range []struct {
		name string
		into *genl.Family
	}{
		{familyDatapath, &f.Datapath},
		{familyVport, &f.Vport},
		{familyFlow, &f.Flow},
		{familyPacket, &f.Packet},
	} {
		fam, err := genl.Resolve(c, r.name)
		if errors.Is(err, genl.ErrNotFound) {
			return nil, fmt.Errorf("family %s: %w", r.name, ErrNoModule)
		}
		if err != nil {
			return nil, fmt.Errorf("family %s: %w", r.name, err)
		}
		*r.into = fam
	}
	for _, r := range []struct {
		name string
		into **genl.Family
	}{
		{familyMeter, &f.Meter},
		{familyCTLimit, &f.CTLimit},
	} {
		fam, err := genl.Resolve(c, r.name)
		switch {
		case err == nil:
			*r.into = &fam
		case !errors.Is(err, genl.ErrNotFound) && !errors.Is(err, unix.ENOENT):
			return nil, fmt.Errorf("family %s: %w", r.name, err)
		}
	}
	return &f, nil
}
