package forward

import (
	"fmt"
	"strconv"
)

// maxVLAN is the last VLAN id that may be configured; 0 means none and 4095 is
// reserved (IEEE 802.1Q-2018, table 9-2).
const maxVLAN = 4094

// vlanIDs is the number of VLAN ids that a tag can carry.
const vlanIDs = 4096

// VLANRange is the VLANs First to Last, both included, within 1 and 4094.
type VLANRange struct{ First, Last uint16 }

// String returns the range as a file has it: 10, or 20-29.
func (r VLANRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// VLANConfig is the VLANs of a port, with the terms and the meaning of Open vSwitch (tag,
// trunks and vlan_mode of ovs-vswitchd.conf.db(5)). The zero value is a trunk of all VLANs.
type VLANConfig struct {
	// Access, if not 0, makes the port carry one VLAN, untagged. It excludes the other fields.
	Access uint16 `yaml:"access" min:"1" max:"4094" optional:"true"`
	// Trunk lists the VLANs that the port carries with a tag; nil is all.
	// Frames without tag belong to VLAN 0, which only a trunk of all carries.
	Trunk []VLANRange `yaml:"trunk" optional:"true"`
	// Native, if not 0, is the VLAN that the port also carries, untagged (vlan_mode
	// native-untagged).
	Native uint16 `yaml:"native" min:"1" max:"4094" optional:"true"`
}

// IsSet reports whether c is other than a trunk of all VLANs.
func (c *VLANConfig) IsSet() bool { return c.Access != 0 || c.Native != 0 || len(c.Trunk) > 0 }

// Sent returns the VLANs of the frames that a port sends: 0 for those without tag, then
// those of a trunk's list, which have one.
func (c *VLANConfig) Sent() []uint16 {
	var list []uint16
	if c.Trunk == nil || c.Native != 0 {
		list = append(list, 0)
	}
	for _, r := range c.Trunk {
		for vlan := r.First; vlan <= r.Last; vlan++ {
			if vlan != c.Native {
				list = append(list, vlan)
			}
		}
	}
	return list
}

func (c *VLANConfig) check() error {
	switch {
	case c.Access > maxVLAN:
		return fmt.Errorf("access VLAN %d is not within 1 and %d", c.Access, maxVLAN)
	case c.Native > maxVLAN:
		return fmt.Errorf("native VLAN %d is not within 1 and %d", c.Native, maxVLAN)
	case c.Access != 0 && (c.Native != 0 || c.Trunk != nil):
		return fmt.Errorf("access VLAN %d on a trunk", c.Access)
	}
	for _, r := range c.Trunk {
		if r.First < 1 || r.First > r.Last || r.Last > maxVLAN {
			return fmt.Errorf("trunk VLANs %d-%d are not a range within 1 and %d", r.First, r.Last, maxVLAN)
		}
	}
	return nil
}

// set returns the VLANs that a trunk carries, nil for all.
func (c *VLANConfig) set() *vlanSet {
	if c.Trunk == nil {
		return nil
	}
	s := &vlanSet{}
	for _, r := range c.Trunk {
		for vlan := r.First; vlan <= r.Last; vlan++ {
			s.add(vlan)
		}
	}
	if c.Native != 0 {
		s.add(c.Native)
	}
	return s
}

// edges appends to list the VLANs at which the port's handling may differ from that of the
// previous VLAN.
func (c *VLANConfig) edges(list []uint16) []uint16 {
	list = append(list, c.Access, c.Access+1, c.Native, c.Native+1)
	for _, r := range c.Trunk {
		list = append(list, r.First, r.Last+1)
	}
	return list
}

// vlanSet is a set of VLAN ids.
type vlanSet [vlanIDs / 64]uint64

func (s *vlanSet) add(vlan uint16)      { s[vlan/64] |= 1 << (vlan % 64) }
func (s *vlanSet) has(vlan uint16) bool { return s[vlan/64]&(1<<(vlan%64)) != 0 }
