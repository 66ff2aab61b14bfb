// Package bench holds what both sides of the benchmark share: the loads and the results.
//
// Three programs answer the upcalls of the same kernel datapath, one after the other, under the
// same load:
//
//   - floor (floor/floor.c), the least work possible: its cost is the kernel's share;
//   - dpifd, as a learning switch;
//   - Debian's ovs-vswitchd with the NORMAL action.
//
// Command run, in the lab VM, creates the topology, starts the programs in turn, drives package
// load and writes the results as JSON. Command report, on the host, generates docs/PERFORMANCE.md
// and docs/performance.svg from them.
//
// Each measurement starts with a new datapath and a new process. Absolute values depend on the
// machine; ratios are computed within a round, between measurements that are seconds apart.
package bench
