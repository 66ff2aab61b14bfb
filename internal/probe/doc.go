// Package probe finds out what the running kernel offers to dpifd, by trying.
//
// # Protocol
//
// What a datapath has (features, actions, meters, limits) is tried on one that
// is made for it in a network namespace made for it, unshare(2) with
// CLONE_NEWNET on a thread of its own, which takes CAP_SYS_ADMIN. Both end with
// the thread: the host's namespaces, devices and datapaths are not touched. What
// sockets have (rings, recvmmsg, buffers) is tried on sockets that are closed
// right after. The only lasting effect is that the kernel may load its module
// openvswitch, and what that depends on, when it is asked for the families.
//
// # Sources
//
// linux/openvswitch.h of Linux 6.1, and of 6.12 for what came later; man
// capabilities(7).
package probe
