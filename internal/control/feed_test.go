package control_test

import (
	"sync"
	"testing"

	"dpifd/internal/control"
)

// TestFeedCountsEverything runs writers and a reader concurrently: each offered upcall arrives, in
// the order of its writer, or is counted as dropped.
func TestFeedCountsEverything(t *testing.T) {
	const writers, each = 4, 20_000
	f := control.NewFeed(control.FeedConfig{Rate: 1 << 30})
	var all sync.WaitGroup
	for w := range writers {
		u, v := upcall(t, w)
		all.Go(func() {
			for i := range each {
				u.Len = uint32(1000 + i)
				f.Offer("p", u, v)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	var arrived, dropped uint64
	last := [writers]int{}
	take := func() {
		u, n, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dropped += n
		if u == nil {
			return
		}
		arrived++
		if last[u.PortNo] >= u.PacketBytes {
			t.Fatalf("port %d: upcall %d after %d", u.PortNo, u.PacketBytes, last[u.PortNo])
		}
		last[u.PortNo] = u.PacketBytes
	}
	for arrived+dropped < writers*each {
		take()
	}
	<-done
	if f.Ready() || arrived+dropped != writers*each || arrived == 0 {
		t.Errorf("%d arrived, %d dropped of %d", arrived, dropped, writers*each)
	}
	t.Logf("%d arrived, %d dropped", arrived, dropped)
}

// TestFeedIsBounded: without a reader, a feed keeps a bounded number of upcalls.
func TestFeedIsBounded(t *testing.T) {
	for _, tc := range []struct {
		cfg  control.FeedConfig
		most uint64
	}{
		{control.FeedConfig{Rate: 1 << 30}, 1024},
		{control.FeedConfig{Rate: 1 << 30, Snap: 1 << 16}, 64},
		{control.FeedConfig{Rate: 5}, 5 + 5*60}, // at most a minute's worth, however slow the test is
	} {
		f := control.NewFeed(tc.cfg)
		u, v := upcall(t, 1)
		const offered = 5000
		for range offered {
			f.Offer("p", u, v)
		}
		var arrived, dropped uint64
		for f.Ready() {
			u, n, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			dropped += n
			if u != nil {
				arrived++
			}
		}
		if arrived+dropped != offered || arrived > tc.most || arrived < 5 {
			t.Errorf("%+v: %d arrived, %d dropped of %d; want %d at most", tc.cfg, arrived, dropped, offered, tc.most)
		}
	}
}

func BenchmarkOffer(b *testing.B) {
	f := control.NewFeed(control.FeedConfig{Rate: 1000})
	u, v := upcall(b, 1)
	for range 2000 {
		f.Offer("p", u, v)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Offer("p", u, v)
	}
}

func TestOfferAllocatesNothing(t *testing.T) {
	f := control.NewFeed(control.FeedConfig{Rate: 1 << 30})
	u, v := upcall(t, 1)
	for range 2000 {
		f.Offer("p", u, v)
	}
	if n := testing.AllocsPerRun(1000, func() { f.Offer("p", u, v) }); n != 0 {
		t.Errorf("%v allocations for a skipped upcall", n)
	}
}
