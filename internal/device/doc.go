// Package device creates, checks, sets up and deletes network devices over rtnetlink: the
// tunnel devices behind tunnel ports, and the addresses of internal ports.
//
// # Tunnels
//
// A tunnel device is created in collect-metadata mode ("external" to iproute2): it has no peer, and
// takes the destination of a packet from the flow's set(tunnel(...)) action. One device serves all
// tunnels of its kind and destination port, and has the same name as with Open vSwitch. An existing
// device with that name is used if its attributes are the same; otherwise it is left unchanged.
//
// # Ownership
//
// Devices that dpifd creates are marked by their alias (IFLA_IFALIAS, "alias" in the output of
// ip link), so that they are recognised after a restart. A device without the mark is never
// deleted.
//
// # Threading
//
// A Conn belongs to the network namespace of the thread that dialled it. Its
// methods serve one goroutine at a time.
//
// # Errors
//
// Errors name the device; an errno of the kernel matches with errors.Is, and an existing device
// with other attributes matches ErrDiffers.
//
// # Sources
//
// lib/dpif-netlink-rtnl.c of Open vSwitch 3.x for the devices' attributes;
// linux/if_link.h, linux/if_tunnel.h, linux/rtnetlink.h and linux/if_addr.h of
// Linux 6.1.
package device
