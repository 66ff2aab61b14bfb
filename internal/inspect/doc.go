// Package inspect reads what the kernel has of datapaths, whoever serves them,
// and writes it as ovs-dpctl does.
//
// It reads by the get and dump requests of the openvswitch families, by
// /proc/net/netlink (the upcall sockets' queues and drops) and /proc/PID/fd
// (whose they are), and changes nothing: ovs-dpctl itself, from Open vSwitch
// 2.16 on, changes the user features of a datapath that it shows.
//
// What is read is a snapshot: the parts of it were not read at the same
// instant. It shares no memory with what it was read from. The text is that of
// lib/dpctl.c (show_dpif) and lib/dpif.c (dpif_flow_stats_format) of Open vSwitch
// 3.1, without the counters that a datapath does not have, and with what
// ovs-dpctl does not show: features and upcall sockets.
package inspect
