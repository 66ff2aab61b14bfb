// Package endpoint lists the requests that a running daemon answers on its control socket. Each
// endpoint is one value with path, request and answer: the daemon answers it, commands call it.
//
// Programs read the answers as JSON, too: fields may be added, but are never renamed or
// removed.
package endpoint
