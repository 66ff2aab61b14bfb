package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

func upcall(t testing.TB, in int) (*dpif.Upcall, *policy.Verdict) {
	t.Helper()
	key, _, err := odp.Text{}.ParseKey(fmt.Sprintf("in_port(%d),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),"+
		"eth_type(0x0800)", in))
	if err != nil {
		t.Fatal(err)
	}
	v := &policy.Verdict{Reason: "learned_unicast", Install: true}
	odp.AppendOutput(&v.Actions, 9)
	return &dpif.Upcall{Kind: dpif.Miss, InPort: odp.PortNo(in), Key: key,
		Packet: []byte("packet of thirty-three bytes long")}, v
}

func TestUpcalls(t *testing.T) {
	s, b, path := serve(t, nil)
	got := make(chan control.Notice, 100)
	end := make(chan error, 1)
	go func() {
		end <- client(t, path).Upcalls(t.Context(), control.Watch{Filter: "in_port(p4)", Snap: 6, Names: true},
			func(n control.Notice) error { got <- n; return nil })
	}()
	<-b.watched
	for in := range 6 {
		u, v := upcall(t, in)
		b.mu.Lock()
		b.feeds[0].Offer("p4", u, v)
		b.mu.Unlock()
	}
	if n := <-got; n.Watching != "dp7" {
		t.Errorf("first notice %+v", n)
	}
	n := <-got
	if n.Upcall == nil || n.Dropped != 0 || time.Since(n.Upcall.Time) > time.Minute {
		t.Fatalf("notice %+v", n)
	}
	n.Upcall.Time = time.Time{}
	want := &control.Upcall{Datapath: "dp7", Port: "p4", PortNo: 4, PacketBytes: 33, Decision: "learned_unicast",
		Install: true, Key: "in_port(p4),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)",
		Actions: "9", Packet: []byte("packet")}
	if diff := cmp.Diff(want, n.Upcall); diff != "" {
		t.Errorf("upcall -want +got:\n%s", diff)
	}
	s.Close()
	if err := <-end; !errors.Is(err, io.EOF) {
		t.Errorf("after the daemon stopped: %v", err)
	}
	if len(b.feeds) != 0 {
		t.Error("the feed is still watched")
	}
}

func TestUpcallsEnd(t *testing.T) {
	_, b, path := serve(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			err := client(t, path).Upcalls(ctx, control.Watch{}, func(control.Notice) error { return nil })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
		<-b.watched
	}
	if err := client(t, path).Upcalls(ctx, control.Watch{}, nil); err == nil ||
		!strings.Contains(err.Error(), "4 clients already watch upcalls") {
		t.Errorf("a fifth: %v", err)
	}
	cancel()
	clients.Wait()
	// Their slots are free again once the server has noticed.
	stop := errors.New("stop")
	for {
		done := make(chan error, 1)
		go func() {
			done <- client(t, path).Upcalls(t.Context(), control.Watch{}, func(n control.Notice) error {
				if n.Upcall == nil {
					return nil
				}
				return stop
			})
		}()
		select {
		case <-b.watched:
			u, v := upcall(t, 1)
			b.mu.Lock()
			for _, f := range b.feeds {
				f.Offer("p", u, v)
			}
			b.mu.Unlock()
			if err := <-done; !errors.Is(err, stop) {
				t.Errorf("the callback's error: %v", err)
			}
			return
		case <-done:
		}
	}
}
