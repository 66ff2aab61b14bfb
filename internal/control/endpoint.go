package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Endpoint is a request of clients to a daemon. Server and client share the value, and so the path
// and the types. Request and Answer are types for encoding/json; a Request of type None is not
// sent.
type Endpoint[Request, Answer any] struct {
	Method string // http.MethodGet, MethodPut or MethodPost
	Path   string // "/v1/..."
}

// None is the Request of an endpoint without parameters.
type None struct{}

// Route is an endpoint with the function that answers it.
type Route struct {
	pattern string
	handler http.HandlerFunc
}

// Ask sends the request to the daemon of c and returns its answer. It gives up after 30 s. The
// error describes the problem with the socket, and matches ErrNoDaemon if nothing answers, or
// is the daemon's refusal.
func (e Endpoint[Request, Answer]) Ask(ctx context.Context, c *Client, r Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var in any = r
	if _, ok := in.(None); ok {
		in = nil
	}
	var out Answer
	return out, c.call(ctx, e.Method, e.Path, in, &out)
}

// Route returns the route that answers requests with fn. fn is called by several goroutines at
// once, with the process that asks. Errors that match ErrBadRequest or ErrNotReady have
// separate statuses.
func (e Endpoint[Request, Answer]) Route(fn func(Request, Peer) (Answer, error)) Route {
	return Route{e.Method + " " + e.Path, func(w http.ResponseWriter, r *http.Request) {
		var in Request
		if _, ok := any(in).(None); !ok {
			if err := decode(r.Body, &in); err != nil {
				refuse(w, err)
				return
			}
		}
		out, err := fn(in, peer(r))
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, out)
	}}
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"answer cannot be encoded"}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may have disconnected
}

// refuse writes a Failure with a status for the kind of error.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrBadRequest):
		status = http.StatusBadRequest
	case errors.Is(err, ErrNotReady):
		status = http.StatusServiceUnavailable
	}
	answer(w, status, Failure{err.Error()})
}

// decode reads a body that is one JSON value.
func decode(body io.Reader, v any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return BadRequest(fmt.Errorf("body: %w", err))
	}
	return nil
}
