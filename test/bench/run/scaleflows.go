package main

import (
	"errors"
	"fmt"
	"time"

	"dpifd/internal/dpif"
	"dpifd/test/bench"
	"dpifd/test/bench/load"
)

// keepFlows is longer than a measurement.
const keepFlows = time.Hour

// spareFlows is the margin of dpifd's flow limit above the number of flows.
const spareFlows = 1000

// measureFlows measures a switch with two ports and a growing number of flows.
func (s *scale) measureFlows(name string, sizes []int) error {
	if len(sizes) == 0 {
		return nil
	}
	most := sizes[len(sizes)-1]
	u := setup{ports: s.net.ports(2), maxIdle: keepFlows, flows: 3 * most} // the limit is not reached
	point := func(n int) *bench.ScalePoint {
		return &bench.ScalePoint{Switch: name, Round: s.round, Ports: 2, Flows: n}
	}
	p := point(sizes[0])
	if err := s.late(); err != nil {
		return s.add(p, err)
	}
	v, err := startScale(p, u)
	if err != nil {
		return s.add(p, err)
	}
	defer func() {
		if err := errors.Join(v.stop(), s.saveLog(p, v)); err != nil {
			fmt.Printf("%s: %v\n", name, err)
		}
	}()
	h, err := s.net.newHolder(v, most)
	if err != nil {
		return s.add(p, err)
	}
	defer h.close()
	for _, n := range sizes {
		q := point(n)
		q.ReadySeconds = p.ReadySeconds
		err := s.late()
		if err == nil {
			err = h.measure(q)
		}
		if saveErr := s.add(q, err); err != nil || saveErr != nil || q.Held < n*99/100 {
			return saveErr // it would not hold more flows
		}
	}
	return nil
}

// holder makes a switch hold flows from the first port to the sink.
type holder struct {
	s        *vswitch
	filler   *filler
	sender   *load.Sender // on the first port
	receiver *load.Sender // on the sink's port
	moved    int          // number of moved stations
}

// Numbers of the stations that move, above those of pairs.
const firstMover, movers = 1 << 20, 64

func (n *network) newHolder(s *vswitch, pairs int) (*holder, error) {
	f, err := n.prepare(bench.Load{Ports: 2})
	if err != nil {
		return nil, err
	}
	f.sink.Close() // arrivals are not read
	h := &holder{s: s, sender: f.sender}
	if err := inside(n.receiver, func() (err error) {
		h.receiver, err = load.OpenSender([]string{receiving})
		return err
	}); err != nil {
		h.sender.Close()
		return nil, err
	}
	if err := h.introduce(pairs); err != nil {
		h.close()
		return nil, err
	}
	frame := load.Frame(load.Sink, 0, 60)
	h.filler = &filler{
		send: func(from, to int) error { return h.sender.Sources[0].Pairs(frame, from, to, 0) },
		flows: func() (int, error) {
			info, err := s.dp.Info()
			return int(info.Stats.Flows), err
		},
		sleep: time.Sleep,
	}
	return h, nil
}

func (h *holder) close() {
	h.sender.Close()
	h.receiver.Close()
}

// introduce makes the switch learn all stations in advance, so that filling in flows does not
// trigger a revalidation.
func (h *holder) introduce(pairs int) error {
	if err := load.IntroducePairs(h.sender.Sources[0], h.receiver.Sources[0], pairs); err != nil {
		return err
	}
	for i := range movers {
		if err := h.sender.Sources[0].Send(load.Frame(load.Sink, firstMover+uint32(i), 60)); err != nil {
			return err
		}
	}
	time.Sleep(settleTime)
	return nil
}

// move sends from a station on the port of the sinks.
func (h *holder) move() error {
	frame := load.Frame(load.Sink, firstMover+uint32(h.moved%movers), 60)
	h.moved++
	return h.receiver.Sources[0].Send(frame)
}

// measure measures the switch with the flows of p. If it holds fewer flows, only their number is
// recorded.
func (h *holder) measure(p *bench.ScalePoint) (err error) {
	// If flows exceed half of an adaptive limit, dumps continue for minutes so that it can grow.
	// With this limit they end when the flows do.
	if err := h.s.setFlowLimit(p.Flows + spareFlows); err != nil {
		return err
	}
	if p.Held, err = h.filler.to(p.Flows); err != nil {
		return err
	}
	if err := h.s.rest(p); err != nil {
		return err
	}
	for _, d := range []struct {
		terse bool
		took  *float64
	}{{true, &p.TerseSeconds}, {false, &p.FullSeconds}} {
		began := time.Now()
		if err := h.s.dp.Flows(d.terse, func() {}, func(*dpif.Flow) error { return nil }); err != nil {
			return err
		}
		*d.took = time.Since(began).Seconds()
	}
	if err := h.s.change(p, h.move); err != nil {
		return err
	}
	if p.Left, err = h.filler.flows(); err != nil || p.Left < p.Held*99/100 {
		return err // no flows to keep in use
	}
	return h.s.alive(p, h.sender.Sources[0], h.filler.next)
}
