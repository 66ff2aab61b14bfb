// Package bench is what the benchmark's two sides share: the loads and the
// measurements.
//
// Three programs answer the upcalls of the same kernel datapath, one after the
// other, under the same load:
//
//   - floor (floor/floor.c), the least that does the job: what it costs is the
//     kernel's share;
//   - dpifd, as a learning switch;
//   - Debian's ovs-vswitchd with the NORMAL action.
//
// Command run, in the lab VM, makes the topology, starts them in turn, drives
// package load and writes what it measured as JSON. Command report, on the
// host, makes docs/PERFORMANCE.md and docs/performance.svg of that.
//
// Every measurement starts with a new datapath and a new process. Absolute
// figures depend on the machine; ratios are taken within a round, between
// measurements that are seconds apart.
package bench
