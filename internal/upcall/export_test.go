package upcall

import (
	"fmt"

	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// Round is a handler without vports, whose requests go to the running kernel. They use the ids of
// netlink control messages, which every kernel skips.
type Round struct {
	h      *Handler
	s      *Socket
	budget *places
}

func NewRound(p policy.Policy, flowLimit int) (*Round, error) {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		return nil, err
	}
	dp := dpiftest.Datapath(conn)
	r := &Round{s: NewSocket(&netlink.Receiver{}, NewPort(1, "test", 0)), budget: &places{limit: int64(flowLimit)}}
	r.h, err = New(Config{Datapath: dp, Policy: p, Budget: r.budget, Hasher: odp.NewMaskedHasher(), Ports: &Table{}})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

// Prime enables priming.
func (r *Round) Prime() {
	r.h.primer = NewPrimer()
	r.h.primer.answered.Store(primePrior)
}

func (r *Round) Close() { r.h.Close() }

// Upcall builds a miss with the given key.
func (r *Round) Upcall(key, packet []byte) []byte {
	return dpiftest.MissWithMetadata(key, packet)
}

// Do decides on datagrams as one batch and sends the answers.
func (r *Round) Do(datagrams ...[]byte) error {
	h := r.h
	h.begin()
	for _, d := range datagrams {
		h.decide(r.s, d, 1000, nil)
	}
	return h.send()
}

// Requests returns the requests of the last batch, in order: "put", "execute" or "renew".
func (r *Round) Requests() []string {
	names := map[requestKind]string{requestFlow: "put", requestExecute: "execute", requestRenew: "renew"}
	var list []string
	for _, op := range r.h.ops {
		list = append(list, names[op.kind])
	}
	return list
}

// Refuse reports errno for request i, as the kernel would.
func (r *Round) Refuse(i int, errno unix.Errno) { r.h.requestFailed(i, errno) }

func (r *Round) Counters() string {
	c := r.s.port
	return fmt.Sprintf("upcalls %d executed %d dropped %d put %d existing %d refused %d over %d decode %d foreign %d "+
		"execrefused %d flows %d",
		c.upcalls.Load(), c.executed.Load(), c.dropped.Load(), c.flowsPut.Load(), c.flowsExisting.Load(),
		c.flowsRefused.Load(), c.flowsOverLimit.Load(), c.decodeErrors.Load(), c.foreign.Load(),
		c.executeRefused.Load(), r.budget.taken)
}

// Limit sets the limit of upcalls per second; all batches have the same time.
func (r *Round) Limit(rate uint32) { r.s.port.limit.rate.Store(rate) }

// Shed returns how many upcalls the limit has shed.
func (r *Round) Shed() uint64 { return r.s.port.Counters().Shed }
