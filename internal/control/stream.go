package control

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"dpifd/internal/odp"
)

// number reads a number of a request's query.
func number(q url.Values, name string, otherwise, low, high int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, BadRequest(fmt.Errorf("%s: want a number from %d to %d, not %q", name, low, high, text))
	}
	return n, nil
}

// feedConfig reads a request for upcalls.
func (s *Server) feedConfig(q url.Values) (cfg FeedConfig, err error) {
	if text := q.Get("filter"); text != "" {
		if cfg.Key, cfg.Mask, err = (odp.Text{PortNumber: s.cfg.Upcalls.PortNumber}).ParseKey(text); err != nil {
			return cfg, BadRequest(fmt.Errorf("filter: %w", err))
		}
	}
	if cfg.Rate, err = number(q, "rate", DefaultRate, 1, math.MaxInt32); err == nil {
		cfg.Snap, err = number(q, "snap", 0, 0, maxSnap)
	}
	if q.Has("names") {
		cfg.PortName = s.cfg.Upcalls.PortName
	}
	return cfg, err
}

// upcalls streams notices until the client disconnects or the server closes.
func (s *Server) upcalls(w http.ResponseWriter, r *http.Request) {
	cfg, err := s.feedConfig(r.URL.Query())
	if err == nil {
		select {
		case s.feeds <- struct{}{}:
			defer func() { <-s.feeds }()
		default:
			err = fmt.Errorf("%d clients already watch upcalls, which is the limit", maxFeeds)
		}
	}
	if err != nil {
		refuse(w, err)
		return
	}
	feed := NewFeed(cfg)
	datapath, stop := s.cfg.Upcalls.Watch(feed)
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	_ = stream(r.Context(), w, feed, datapath) // the client disconnected
}

// stream writes a line for each upcall, and flushes when no more are waiting. The first line is
// sent at once.
func stream(ctx context.Context, w http.ResponseWriter, feed *Feed, datapath string) error {
	out := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	if err := lines.Encode(Notice{Watching: datapath}); err != nil {
		return err
	}
	for {
		if err := out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if !feed.Ready() {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		u, dropped, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		// Next may have waited for long.
		if err := out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if dropped > 0 {
			if err := lines.Encode(Notice{Dropped: dropped}); err != nil {
				return err
			}
		}
		if u != nil {
			u.Datapath = datapath
			if err := lines.Encode(Notice{Upcall: u}); err != nil {
				return err
			}
		}
	}
}
