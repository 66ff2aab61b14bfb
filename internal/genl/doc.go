// Package genl is generic netlink: the header of its messages, and the look-up
// of families by name, whose ids and multicast groups the kernel assigns as
// families are registered.
//
// Looking a family up makes the kernel try to load the module that has its
// alias (MODULE_ALIAS_GENL_FAMILY); LoadModule is for where that does not do.
//
// The package holds no state. Sources: linux/genetlink.h of Linux 6.1,
// net/netlink/genetlink.c.
package genl
