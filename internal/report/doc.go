// Package report turns dpifd's log into one static page with plots: upcalls, hit
// ratio, loss by cause, latency and flows by time, events marked.
//
// [Read] takes in the JSON lines of one or more runs, of several datapaths,
// rotated and compressed files, and lines that are not of dpifd; [Write] writes
// the page, which refers to nothing outside of itself.
//
// A [Log] belongs to its caller and is not safe for concurrent use. Memory is
// bounded: a datapath's samples are thinned out beyond a limit, and so is the
// list of events.
//
// Sources: docs/LOGS.md for events and fields.
package report
