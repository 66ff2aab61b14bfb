// Package inspect reads datapaths from the kernel, whatever program serves them, and prints
// them as ovs-dpctl does.
//
// It uses get and dump requests of the openvswitch families, /proc/net/netlink (queues and
// drops of upcall sockets) and /proc/PID/fd (their owners), and changes nothing. ovs-dpctl of
// Open vSwitch 2.16 and later changes the user features of a datapath that it shows.
//
// The result is a snapshot whose parts are read one after another. It shares no memory with
// receive buffers. The text is that of lib/dpctl.c (show_dpif) and lib/dpif.c
// (dpif_flow_stats_format) of Open vSwitch 3.1, without counters that a datapath does not have,
// and with features and upcall sockets, which ovs-dpctl does not show.
package inspect
