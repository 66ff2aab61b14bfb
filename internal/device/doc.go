// Package device makes, checks, sets up and deletes network devices over
// rtnetlink: the tunnel devices behind tunnel ports, and the addresses of
// internal ports.
//
// # Tunnels
//
// A tunnel device is made in collect-metadata mode ("external" to iproute2):
// it has no peer of its own, and takes from the flow's set(tunnel(...)) action
// where a packet goes. So one device serves all tunnels of its kind and
// destination port, and has the name that Open vSwitch gives it. A device found
// under that name is used if its attributes are the same, and left alone
// otherwise.
//
// # Ownership
//
// What dpifd made is marked by the device's alias (IFLA_IFALIAS, "alias" in the
// output of ip link), so that it is known again after a restart. A device
// without the mark is never deleted.
//
// # Threading
//
// A Conn belongs to the network namespace of the thread that dialled it. Its
// methods serve one goroutine at a time.
//
// # Errors
//
// Errors name the device; an errno of the kernel matches with errors.Is, and a
// device that is there and does not fit matches ErrDiffers.
//
// # Sources
//
// lib/dpif-netlink-rtnl.c of Open vSwitch 3.x for the devices' attributes;
// linux/if_link.h, linux/if_tunnel.h, linux/rtnetlink.h and linux/if_addr.h of
// Linux 6.1.
package device
