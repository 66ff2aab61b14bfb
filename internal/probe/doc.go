// Package probe tests what the running kernel offers to dpifd.
//
// # Protocol
//
// Features of a datapath (user features, actions, meters, limits) are tested on a temporary
// datapath in a temporary network namespace, created by unshare(2) with CLONE_NEWNET on a
// separate thread; this needs CAP_SYS_ADMIN. Both end with the thread, and nothing else on the
// host is changed. Features of sockets (rings, recvmmsg, buffers) are tested on sockets that
// are closed at once. The only lasting effect is that the kernel may load its module
// openvswitch, and the modules that it depends on.
//
// # Sources
//
// linux/openvswitch.h of Linux 6.1, and of 6.12 for what came later; man
// capabilities(7).
package probe
