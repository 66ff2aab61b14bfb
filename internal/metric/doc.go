// Package metric says what a counter is: a figure with a name, kind, unit and
// meaning, and how to read it.
//
// The package that counts declares a Table with one entry for each figure. From the
// tables come the fields of the events stats and port_stats, the answer of the
// control socket, the text of `dpifd metrics`, the program for mtail and the lists
// of docs/LOGS.md and docs/MONITORING.md.
package metric
