// Package genl implements generic netlink: the message header, and the lookup of families by
// name. The kernel assigns ids and multicast groups when families are registered.
//
// The lookup of a family makes the kernel try to load the module with its alias
// (MODULE_ALIAS_GENL_FAMILY). LoadModule is for systems where this does not work.
//
// The package holds no state. Sources: linux/genetlink.h of Linux 6.1,
// net/netlink/genetlink.c.
package genl
