package vswitch

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
)

// portBatch is how many ports are seen to together: requests about them share
// system calls, and a handler is asked once to own all of its part.
const portBatch = 64

// portsAtOnce is portBatch, or 1 where sockets may have rings: the ring of a port
// that turns out not to be there would be missing for the next one of its batch.
func (s *Server) portsAtOnce() int {
	if s.sockets.HasRings() && s.sockets.Shared() == nil {
		return 1
	}
	return portBatch
}

// serve makes sure that each vport of the datapath has an upcall socket, and
// that the kernel sends its upcalls there. Only transport.ErrRingRequired is returned.
func (s *Server) serve(vports []dpif.Vport) error {
	var others []dpif.Vport
	for _, v := range vports {
		s.rounds.Add(1)
		s.mu.Lock()
		ch := s.channels[v.No]
		s.mu.Unlock()
		if ch != nil {
			s.checkPIDs(ch, v)
			continue
		}
		others = append(others, v)
	}
	s.sortForRings(others)
	for batch := range slices.Chunk(others, s.portsAtOnce()) {
		s.rounds.Add(1)
		if err := s.take(batch); err != nil {
			return err
		}
	}
	return nil
}

// sortForRings brings vports into the order in which they get rings while the memory
// limit has room: those of the file in its order, then the others by number.
func (s *Server) sortForRings(vports []dpif.Vport) {
	place := make(map[string]int, len(s.cfg.Ports))
	for i, p := range s.cfg.Ports {
		place[p.Name] = i - len(s.cfg.Ports)
	}
	slices.SortStableFunc(vports, func(a, b dpif.Vport) int {
		return cmp.Or(cmp.Compare(place[s.bound.Entry(a.No)], place[s.bound.Entry(b.No)]), cmp.Compare(a.No, b.No))
	})
}

// take opens a channel for each of the vports, or adopts one, and has the
// vports' upcalls go there. Only transport.ErrRingRequired is returned.
func (s *Server) take(vports []dpif.Vport) error {
	var chs, opened []*channel
	for _, v := range vports {
		p := upcall.NewPort(v.No, v.Name, s.maxUpcalls[v.Name])
		ch := &channel{Port: p, typ: v.Type, ifindex: v.Ifindex}
		if ch.sock = s.sockets.Adopt(p, v.UpcallPIDs); ch.sock != nil {
			chs = append(chs, ch) // its upcalls come here already
			continue
		}
		var err error
		if ch.sock, err = s.sockets.Open(p, s.running); errors.Is(err, transport.ErrRingRequired) {
			s.discard(chs)
			return err
		}
		if err != nil {
			s.cannotServe(v.No, v.Name, err)
			continue
		}
		chs = append(chs, ch)
		if ch.sock != nil {
			opened = append(opened, ch)
		}
	}
	failed := s.sockets.Attach(socketsOf(chs))
	// Owned by a handler before the first upcall can arrive.
	opened = slices.DeleteFunc(opened, func(ch *channel) bool { return failed[ch.sock] != nil })
	ports, pids := make([]odp.PortNo, len(opened)), make([]uint32, len(opened))
	for i, ch := range opened {
		ports[i], pids[i] = ch.No, ch.sock.PortID()
	}
	refused := map[*transport.Socket]error{}
	// A fault of the socket reaches the function as well.
	_ = s.dp.SetUpcallPIDs(ports, pids, func(i int, err error) {
		if err != nil {
			refused[opened[i].sock] = err
		}
	})
	for sock, err := range refused {
		s.sockets.Detach(sock)
		failed[sock] = err
	}
	for sock, err := range failed {
		s.cannotServe(sock.Port().No, sock.Port().Name(), err)
	}
	s.serving(withoutFailed(chs, failed), false)
	return nil
}

// socketsOf returns the sockets of channels that have one.
func socketsOf(chs []*channel) []*transport.Socket {
	var socks []*transport.Socket
	for _, ch := range chs {
		if ch.sock != nil {
			socks = append(socks, ch.sock)
		}
	}
	return socks
}

func withoutFailed(chs []*channel, failed map[*transport.Socket]error) []*channel {
	return slices.DeleteFunc(chs, func(ch *channel) bool { return failed[ch.sock] != nil })
}

// discard closes the sockets of channels that no handler owns.
func (s *Server) discard(chs []*channel) { s.sockets.Discard(socketsOf(chs)...) }

// cannotServe tells why a vport of the datapath is not served, once for each
// reason.
func (s *Server) cannotServe(no odp.PortNo, name string, err error) {
	if !dpif.IsGone(err) && s.broken[no] != err.Error() {
		s.broken[no] = err.Error()
		s.cfg.Notify(PortFailed{No: no, Name: name, Err: err})
	}
}

func (s *Server) checkPIDs(ch *channel, v dpif.Vport) {
	if ch.sock == nil {
		return // the kernel does not look at them
	}
	pid := ch.sock.PortID()
	if len(v.UpcallPIDs) == 1 && v.UpcallPIDs[0] == pid {
		return
	}
	if s.running && !s.restores.allow() {
		return
	}
	if err := s.dp.SetUpcallPID(v.No, pid); err != nil {
		if !dpif.IsGone(err) {
			s.cfg.Notify(PortFailed{No: v.No, Name: v.Name, Err: err})
		}
		return
	}
	s.restored.pids.Add(1)
	if held, due := s.restores.say(v.No, time.Now()); due {
		s.cfg.Notify(UpcallPIDRestored{No: v.No, Name: v.Name, Found: v.UpcallPIDs, PID: pid, HeldBack: held})
	}
}

// addConfigured attaches the configured ports that the datapath lacks.
func (s *Server) addConfigured(vports []dpif.Vport) (added []dpif.Vport, err error) {
	has := byNo(vports)
	now := clock.Now()
	var lacking []PortConfig
	for _, p := range s.cfg.Ports {
		if no, bound := s.bound.Number(p.Name); bound && has[no] != nil {
			s.attached(p, has[no], false)
			continue
		}
		delete(s.setUp, p.Name)
		if s.due(p.Name, now) {
			lacking = append(lacking, p)
		}
	}
	if len(lacking) == 0 {
		return nil, nil
	}
	free := s.quarantine.free(vports, s.Ports())
	for batch := range slices.Chunk(lacking, s.portsAtOnce()) {
		s.rounds.Add(1)
		made, err := s.addPorts(batch, free)
		added = append(added, made...)
		if err != nil {
			return added, err
		}
	}
	return added, nil
}

// attached notes that a configured port is in the datapath, and sets up its device.
func (s *Server) attached(p PortConfig, v *dpif.Vport, created bool) {
	delete(s.waiting, p.Name)
	delete(s.retries, p.Name)
	s.unprepared = append(s.unprepared, deviceSetup{p, *v, created})
}

// addition is a configured port that is being attached.
type addition struct {
	port PortConfig
	ch   *channel
	v    dpif.Vport
	err  error
}

// addPorts attaches configured ports.
func (s *Server) addPorts(ports []PortConfig, free *freeNumbers) ([]dpif.Vport, error) {
	list := make([]*addition, len(ports))
	var asked []*addition
	var requests []dpif.NewVport
	for i, p := range ports {
		a := &addition{port: p}
		list[i] = a
		if s.cfg.Devices != nil {
			if a.err = s.cfg.Devices.Prepare(p); a.err != nil {
				continue
			}
		}
		a.ch = &channel{Port: upcall.NewPort(0, p.Name, s.maxUpcalls[p.Name]), typ: p.Type}
		if a.ch.sock, a.err = s.sockets.Open(a.ch.Port, s.running); a.err != nil {
			if errors.Is(a.err, transport.ErrRingRequired) {
				for _, other := range asked {
					s.sockets.Discard(other.ch.sock)
				}
				return nil, a.err
			}
			continue
		}
		asked = append(asked, a)
		requests = append(requests, dpif.NewVport{Name: p.Name, Type: p.Type, No: free.take(), UpcallPID: a.ch.sock.PortID()})
	}
	// Sockets exist before the vports do, and their queues hold what comes before a
	// handler owns them. A fault of the request socket reaches the function as well.
	_ = s.dp.AddVports(requests, func(i int, v dpif.Vport, err error) {
		a := asked[i]
		a.v, a.err, a.ch.No, a.ch.ifindex = v, err, v.No, v.Ifindex
	})
	var chs []*channel
	for i, a := range asked {
		if a.err != nil {
			free.giveBack(requests[i].No)
			s.sockets.Discard(a.ch.sock)
			continue
		}
		chs = append(chs, a.ch)
	}
	failed := s.sockets.Attach(socketsOf(chs))
	for _, a := range asked {
		if err := failed[a.ch.sock]; err != nil {
			a.err = err
		}
	}
	s.serving(withoutFailed(chs, failed), true)
	return s.settleAdditions(list)
}

// settleAdditions returns the ports that were attached, and sees to what others
// wait for. An error says that it is the datapath that is missing.
func (s *Server) settleAdditions(list []*addition) (added []dpif.Vport, err error) {
	asked := false
	for _, a := range list {
		name := a.port.Name
		if a.err == nil {
			s.bound.Set(a.v, name)
			added = append(added, a.v)
			s.attached(a.port, &a.v, true)
			continue
		}
		// ENODEV may be about the port's device or about the datapath.
		if !asked {
			if _, err = s.dp.Info(); err != nil {
				return added, err
			}
			asked = true
		}
		s.retries[name] = s.retries[name].Next(clock.Now())
		if s.waiting[name] != a.err.Error() {
			s.waiting[name] = a.err.Error()
			s.cfg.Notify(PortWaiting{Name: name, Err: a.err})
		}
	}
	return added, nil
}

// flowTickMS bounds how much later than a packet a flow's time of use may be: the
// kernel keeps it in ticks (ovs_flow_used_time, net/openvswitch/flow_netlink.c, Linux
// 6.1), of which there are at least 100 in a second.
const flowTickMS = 10

// sinceNow is Port.SinceMS of a port that has just been found.
func sinceNow() int64 { return clock.NowMS() + flowTickMS }

// serving enters channels among the ports served. Events say so once the policy knows
// them, see tellArrived.
func (s *Server) serving(chs []*channel, created bool) {
	s.mu.Lock()
	for _, ch := range chs {
		if created || s.running || s.bound.Replaced(ch.No) {
			ch.sinceMS = sinceNow()
		}
		s.channels[ch.No] = ch
		if ch.ifindex != 0 {
			s.devices[ch.ifindex] = ch
		}
	}
	s.tableChanged()
	s.mu.Unlock()
	for _, ch := range chs {
		delete(s.broken, ch.No)
		s.arrived = append(s.arrived, PortAdded{Name: ch.Name(), No: ch.No, Type: ch.typ, Handler: ch.sock.HandlerID(),
			UpcallPID: ch.sock.PortID(), Created: created})
		if ch.sock != nil {
			s.sockets.Keep(ch.sock)
			s.arrived = append(s.arrived, TransportSelected{Name: ch.Name(), No: ch.No, Transport: ch.sock.Transport(),
				Reason: ch.sock.Reason, RcvBuf: ch.sock.RcvBuf(), RingBytes: ch.sock.RingBytes})
		}
	}
}

// tellArrived says which ports have come since it was called last.
func (s *Server) tellArrived() {
	for _, e := range s.arrived {
		s.cfg.Notify(e)
	}
	s.arrived = nil
}
