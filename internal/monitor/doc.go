// Package monitor converts the kernel's multicast notifications into events: of devices from
// the group RTNLGRP_LINK of rtnetlink, of datapaths, vports and flows from the groups of the
// openvswitch families.
//
// # Sockets
//
// There is one socket per protocol, which only listens. The socket for devices has an RX ring
// if the kernel has rings; the others are linear. At start and after an overflow the package
// lists all objects, to know their names. It changes nothing.
//
// Listening to flows is risky on kernels with rings: Linux 4.1 and 4.4 panic when a socket with
// an RX ring installs a flow while a program listens. dpifd run never sends from such sockets;
// other programs may.
//
// # Loss
//
// The kernel drops messages when a socket's queue is full. An overflow is an event too. Events
// continue after it, and the names are read again.
//
// # Threading
//
// A Monitor serves one goroutine; its sockets belong to the network namespace of
// the thread that opened it. Flows of events are borrowed.
package monitor
