package odp

import "strconv"

// PortNo is a datapath port number, unique within one datapath. It is not an
// ifindex.
type PortNo uint32

// MaxPorts is DP_MAX_PORTS (net/openvswitch/datapath.h, Linux 6.1): port
// numbers are smaller.
const MaxPorts = 65535

func (p PortNo) String() string { return strconv.FormatUint(uint64(p), 10) }
