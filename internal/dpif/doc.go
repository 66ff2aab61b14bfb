// Package dpif is a client of the openvswitch kernel datapath: it opens or creates a datapath,
// reads and changes its vports, flows and meters, decodes its upcalls and notifications, and sends
// packets back. It has no goroutine and makes no decisions.
//
// # Protocol
//
// All requests are generic netlink messages of the families ovs_datapath,
// ovs_vport, ovs_flow, ovs_packet and ovs_meter: struct nlmsghdr, struct genlmsghdr,
// struct ovs_header (the datapath's index), then attributes. Numbers and
// structures are those of linux/openvswitch.h, Linux 6.1 (Debian's
// linux-libc-dev). Attributes that a later kernel adds are skipped.
//
// # Threads and memory
//
// A Datapath serves one goroutine; Clone gives another goroutine its own. An Upcall borrows the
// receive buffer or ring frame it came in, and a Batch keeps its memory from send to send, so
// the packet path does not allocate.
package dpif
