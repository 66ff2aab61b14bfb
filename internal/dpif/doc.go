// Package dpif drives one openvswitch kernel datapath: it opens or creates
// it, manages its vports and flows, receives its upcalls and answers them as
// a Policy decides.
//
// # Protocol
//
// All requests are generic netlink messages of the families ovs_datapath,
// ovs_vport, ovs_flow and ovs_packet: struct nlmsghdr, struct genlmsghdr,
// struct ovs_header (the datapath's index), then attributes. Numbers and
// structures are those of linux/openvswitch.h, Linux 6.1 (Debian's
// linux-libc-dev). Attributes that a later kernel adds are skipped.
//
// # Threads
//
// A Datapath serves one goroutine; Clone gives another goroutine its own.
// Each Handler is a goroutine on a locked OS thread with its own epoll, receive batch and
// request socket. Each vport has one upcall socket, and one handler that owns
// it, so the packets of a vport keep their order. The Server reconciles
// vports, sockets and handlers with what the kernel has; the Revalidator
// expires flows and re-decides them when the policy's inputs changed.
//
// # Memory
//
// An Upcall borrows the receive buffer or ring frame it came in. Verdict and
// request buffers are reused from batch to batch; in the steady state the way
// of a packet allocates nothing.
//
// The package does not log. What an operator should know reaches the caller
// as Events, and as counters that Server.Stats collects.
package dpif
