// Package kernel holds the end-to-end tests: dpifd's packages, and dpifd
// itself, against the openvswitch datapath of a real kernel. They carry the
// build tag lab and run in the lab VM (`make kernel-test`); package lab says how
// they make their topologies and what they may skip.
package kernel
