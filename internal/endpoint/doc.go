// Package endpoint lists what a running daemon can be asked over its control socket. Each
// endpoint is one value with path, request and answer, which the daemon answers and
// commands ask.
//
// Answers are JSON for programs as well: fields are added, and neither renamed nor
// removed.
package endpoint
