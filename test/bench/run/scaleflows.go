package main

import (
	"errors"
	"fmt"
	"time"

	"dpifd/internal/dpif"
	"dpifd/test/bench"
	"dpifd/test/bench/load"
)

// keepFlows is longer than a measurement takes.
const keepFlows = time.Hour

// spareFlows is how many more flows than there are to be dpifd may hold.
const spareFlows = 1000

// measureFlows measures a switch of two ports that holds more and more flows.
func (s *scale) measureFlows(name string, sizes []int) error {
	if len(sizes) == 0 {
		return nil
	}
	most := sizes[len(sizes)-1]
	u := setup{ports: s.net.ports(2), maxIdle: keepFlows, flows: 3 * most} // no limit is near
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
			return saveErr // it would not hold more flows either
		}
	}
	return nil
}

// holder has a switch hold flows, from the first port to the sink.
type holder struct {
	s        *vswitch
	filler   *filler
	sender   *load.Sender // on the first port
	receiver *load.Sender // where the sink is
	moved    int          // stations
}

// Numbers of stations that are to move, beyond those of pairs.
const firstMover, movers = 1 << 20, 64

func (n *network) newHolder(s *vswitch, pairs int) (*holder, error) {
	f, err := n.prepare(bench.Load{Ports: 2})
	if err != nil {
		return nil, err
	}
	f.sink.Close() // nobody looks at what arrives
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

// introduce has the switch learn all stations there will be, so that flows can be
// filled up without a reason to look at those that are there.
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

// move has a station be heard where the sinks are.
func (h *holder) move() error {
	frame := load.Frame(load.Sink, firstMover+uint32(h.moved%movers), 60)
	h.moved++
	return h.receiver.Sources[0].Send(frame)
}

// measure measures the switch with the flows of p. Where it does not hold as many,
// how many there are is all that is said.
func (h *holder) measure(p *bench.ScalePoint) (err error) {
	// While flows are more than half of a limit that may grow, dumps go on so that
	// it does, for minutes. This one ends where the flows do.
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
		return err // there is nothing to be kept in use
	}
	return h.s.alive(p, h.sender.Sources[0], h.filler.next)
}
