// Package monitor turns what the kernel multicasts into events, as it happens:
// devices by group RTNLGRP_LINK of rtnetlink, datapaths, vports and flows by
// the groups of the openvswitch families.
//
// # Sockets
//
// A socket for each protocol, which only listens. That for devices has an RX ring
// where the kernel has rings; the others are linear. Nothing is asked of the
// kernel but, at the start and after an overflow, what there is, so that events
// can be told by name. Nothing is changed.
//
// To listen to flows is not without risk on kernels with rings: Linux 4.1 and 4.4
// panic when a socket with an RX ring installs a flow while somebody listens.
// dpifd run never sends from such sockets; other programs may.
//
// # Loss
//
// The kernel drops what finds a socket's queue full. That is an event of its own,
// and events go on after it. The names are read anew then.
//
// # Threading
//
// A Monitor serves one goroutine; its sockets belong to the network namespace of
// the thread that opened it. Flows of events are borrowed.
package monitor
