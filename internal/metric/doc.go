// Package metric defines metrics: figures with a name, kind, unit and meaning, and a function
// to read them.
//
// The package that counts declares a Table with one entry per figure. The tables determine the
// fields of the events stats and port_stats, the answers of the control socket, the text of
// `dpifd metrics`, the mtail program, and the lists of docs/LOGS.md and docs/MONITORING.md.
package metric
