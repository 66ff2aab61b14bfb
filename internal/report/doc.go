// Package report converts dpifd's log to one static page with plots: upcalls, hit ratio, losses
// by cause, latency and flows over time, with marked events.
//
// [Read] reads the JSON lines of one or more runs and datapaths, from rotated and compressed
// files, possibly with other lines between; [Write] writes the page, which loads nothing from
// elsewhere.
//
// A [Log] belongs to its caller and is not safe for concurrent use. Memory is limited: beyond a
// limit a datapath's samples are merged, and events are not listed.
//
// Sources: docs/LOGS.md for events and fields.
package report
