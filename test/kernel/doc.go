// Package kernel holds the end-to-end tests of dpifd and its packages on the openvswitch datapath
// of a real kernel. They have the build tag lab and run in the lab VM (`make kernel-test`). Package
// lab describes how they build their topologies and which tests may be skipped.
package kernel
