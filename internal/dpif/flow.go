package dpif

import (
	"encoding/binary"
	"fmt"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// Flow is one entry of the kernel's flow table. In a dump its slices are
// borrowed from the receive buffer, valid until the callback returns.
type Flow struct {
	UFID    UFID
	HasUFID bool   // kernels before 4.0 have none: the key identifies the flow
	Key     []byte // OVS_KEY_ATTR_* attributes, nil in a terse dump
	Mask    []byte // as Key
	Actions []byte // OVS_ACTION_ATTR_* attributes, nil in a terse dump
	Packets uint64 // matched by the kernel, without the packet that became the upcall
	Bytes   uint64
	// UsedMS is the time of the last match in milliseconds of CLOCK_MONOTONIC; 0 if there was
	// none.
	UsedMS   int64
	TCPFlags uint8 // OR of the low flag bytes of all matched packets
}

// PutMode is what PutFlow does if the flow exists.
type PutMode uint8

const (
	// Create fails with EEXIST if the flow exists.
	Create PutMode = iota
	// Modify replaces the actions of a flow, and fails with ENOENT if there
	// is none.
	Modify
)

// Batch gathers flow and packet requests about one datapath for one send. It
// keeps its memory from batch to batch. The zero value is not usable; see
// Datapath.NewBatch.
type Batch struct {
	send     netlink.SendBatch
	fam      *Families
	idx      int32
	metadata odp.Metadata
}

// NewBatch returns an empty batch for the datapath.
func (d *Datapath) NewBatch() *Batch { return &Batch{fam: d.fam, idx: d.idx} }

// Reset empties the batch.
func (b *Batch) Reset() { b.send.Reset() }

// Len returns the number of requests in the batch.
func (b *Batch) Len() int { return b.send.Len() }

// PutFlow adds a request to create or modify f; key, mask and actions are copied. A
// modification needs the key as well as the UFID. It adds nothing and returns false if the flow
// does not fit in a message.
func (b *Batch) PutFlow(f *Flow, m PutMode) (fits bool) {
	cmd, flags := uint8(cmdNew), uint16(unix.NLM_F_CREATE)
	if m == Modify {
		cmd, flags = cmdSet, 0
	}
	var id []byte
	if f.HasUFID {
		id = f.UFID[:]
	}
	return b.putFlow(cmd, flags, id, f.Key, f.Mask, f.Actions)
}

// CreateFlow is PutFlow for a new flow with these parts.
func (b *Batch) CreateFlow(id *UFID, key, mask, actions []byte) (fits bool) {
	if len(key) != l2Len || len(mask) != l2Len || len(actions) > netlink.MaxSpace-l2FlowLen-attrHeaderLen {
		return b.putFlow(cmdNew, unix.NLM_F_CREATE, id[:], key, mask, actions)
	}
	// Most flows are of in-port and addresses. The compiler knows their lengths, which makes this
	// twice as fast as putFlow.
	m := b.send.Message(b.fam.Flow.ID, unix.NLM_F_REQUEST|unix.NLM_F_CREATE, l2FlowLen+netlink.AttrSize(len(actions)))
	if m == nil {
		return true // the batch keeps the error
	}
	ufid, l2Key, l2Mask := *id, odp.L2Key(key), odp.L2Key(mask)
	h := (*[l2FlowLen]byte)(m)
	putHeaders(h[:], &b.fam.Flow, cmdNew, b.idx)
	netlink.PutAttr(h[headersLen:], flowAttrUFID, ufid[:])
	netlink.PutAttr(h[l2FlowLen-2*(attrHeaderLen+l2Len):], flowAttrKey, l2Key[:])
	netlink.PutAttr(h[l2FlowLen-(attrHeaderLen+l2Len):], flowAttrMask, l2Mask[:])
	netlink.PutAttr(m[l2FlowLen:], flowAttrActions, actions)
	return true
}

const (
	attrHeaderLen = 4 // sizeof(struct nlattr)
	// l2Len is the length of the key, and of the mask, of a flow of in-port and addresses, and
	// l2FlowLen that of headers, UFID, key and mask of such a flow.
	l2Len     = len(odp.L2Key{})
	l2FlowLen = headersLen + attrHeaderLen + len(UFID{}) + 2*(attrHeaderLen+l2Len)
)

func (b *Batch) putFlow(cmd uint8, flags uint16, id, key, mask, actions []byte) (fits bool) {
	size := headersLen + netlink.AttrSize(len(key)) + netlink.AttrSize(len(mask)) + netlink.AttrSize(len(actions))
	if id != nil {
		size += netlink.AttrSize(len(id))
	}
	if size > netlink.MaxSpace {
		return false
	}
	if m := b.send.Message(b.fam.Flow.ID, unix.NLM_F_REQUEST|flags, size); m != nil {
		m = putHeaders(m, &b.fam.Flow, cmd, b.idx)
		if id != nil {
			m = netlink.PutAttr(m, flowAttrUFID, id)
		}
		m = netlink.PutAttr(m, flowAttrKey, key)
		m = netlink.PutAttr(m, flowAttrMask, mask)
		netlink.PutAttr(m, flowAttrActions, actions)
	}
	return true
}

// DeleteFlow adds a request to delete f, by its UFID if it has one. The answer contains the last
// state of the flow.
func (b *Batch) DeleteFlow(f *Flow) {
	e := b.send.Begin(b.fam.Flow.ID, unix.NLM_F_REQUEST|unix.NLM_F_ECHO)
	appendHeaders(e, &b.fam.Flow, cmdDel, b.idx)
	appendFlowID(e, f)
	b.send.End()
}

// RemoveFlow is DeleteFlow with an answer only for an error.
func (b *Batch) RemoveFlow(f *Flow) {
	e := b.send.Begin(b.fam.Flow.ID, unix.NLM_F_REQUEST)
	appendHeaders(e, &b.fam.Flow, cmdDel, b.idx)
	appendFlowID(e, f)
	b.send.End()
}

// GetFlow adds a request to look f up, by its UFID if it has one. The answer of Transact
// contains the flow.
func (b *Batch) GetFlow(f *Flow) {
	e := b.send.Begin(b.fam.Flow.ID, unix.NLM_F_REQUEST)
	appendHeaders(e, &b.fam.Flow, cmdGet, b.idx)
	appendFlowID(e, f)
	b.send.End()
}

// Execute adds a request to run actions on the upcall's packet. The packet's bytes may be
// referenced, not copied: the upcall must not be released before the batch is sent. MRU and
// hash are returned unchanged; without a hash the kernel has 0. It adds nothing and returns false
// if packet or actions do not fit in a message.
func (b *Batch) Execute(u *Upcall, actions []byte) (fits bool) {
	key := b.metadata.Of(u.Fields())
	size := headersLen + netlink.AttrSize(len(key)) + netlink.AttrSize(len(actions))
	if u.Hash != 0 {
		size += netlink.AttrSize(8)
	}
	if u.MRU != 0 {
		size += netlink.AttrSize(2)
	}
	packet := netlink.AttrSize(len(u.Packet))
	if size > netlink.MaxSpace || packet > netlink.MaxSpace {
		return false
	}
	if len(u.Packet) <= netlink.CopyLimit {
		if m := b.send.Message(b.fam.Packet.ID, unix.NLM_F_REQUEST, size+packet); m != nil {
			netlink.PutAttr(b.putExecute(m, u, key, actions), packetAttrPacket, u.Packet)
		}
		return true
	}
	if m := b.send.Begin(b.fam.Packet.ID, unix.NLM_F_REQUEST).Space(size); m != nil {
		b.putExecute(m, u, key, actions)
	}
	b.send.Gather(packetAttrPacket, u.Packet)
	b.send.End()
	return true
}

// putExecute writes what precedes the packet in a request to execute actions, and returns the
// rest of m.
func (b *Batch) putExecute(m []byte, u *Upcall, key, actions []byte) []byte {
	m = putHeaders(m, &b.fam.Packet, packetCmdExecute, b.idx)
	m = netlink.PutAttr(m, packetAttrKey, key)
	m = netlink.PutAttr(m, packetAttrActions, actions)
	if u.Hash != 0 {
		var hash [8]byte
		binary.NativeEndian.PutUint64(hash[:], u.Hash)
		m = netlink.PutAttr(m, packetAttrHash, hash[:])
	}
	if u.MRU != 0 {
		var mru [2]byte
		binary.NativeEndian.PutUint16(mru[:], u.MRU)
		m = netlink.PutAttr(m, packetAttrMRU, mru[:])
	}
	return m
}

func appendFlowID(e *netlink.Encoder, f *Flow) {
	if f.HasUFID {
		e.Attr(flowAttrUFID, f.UFID[:])
	} else {
		e.Attr(flowAttrKey, f.Key)
	}
}

// Send sends the batch. failed is called for each request that the kernel refused, with its
// index in the batch. Send does not wait: the kernel processes the batch within the call.
func (d *Datapath) Send(b *Batch, failed func(i int, errno unix.Errno)) error {
	return d.conn.Send(&b.send, failed)
}

// Transact sends the batch and waits for the kernel's answer to each request. each is called once
// for every request, in order, with its error; last is the last state of a deleted flow or the flow
// that was looked up, borrowed until each returns, nil for other requests. The error is the
// socket's.
func (d *Datapath) Transact(b *Batch, each func(i int, last *Flow, err error)) error {
	var f Flow
	return d.conn.TransactBatch(&b.send, func(i int, answer []byte, err error) {
		if err != nil || answer == nil {
			each(i, nil, err)
			return
		}
		r, err := parseReply(answer)
		if err == nil {
			err = parseFlow(r, &f)
		}
		if err != nil {
			each(i, nil, err)
			return
		}
		each(i, &f, nil)
	})
}

// PutFlow creates or modifies one flow and waits for the kernel's answer.
func (d *Datapath) PutFlow(f *Flow, m PutMode) error {
	b := d.NewBatch()
	if !b.PutFlow(f, m) {
		return fmt.Errorf("datapath %s: put flow: %d bytes of actions: %w", d.name, len(f.Actions), unix.EMSGSIZE)
	}
	return d.one(b, "put flow")
}

// DeleteFlow deletes one flow and waits for the kernel's answer. The error
// matches ENOENT if there is none.
func (d *Datapath) DeleteFlow(f *Flow) error {
	b := d.NewBatch()
	b.DeleteFlow(f)
	return d.one(b, "delete flow")
}

func (d *Datapath) one(b *Batch, op string) error {
	var answer error
	err := d.Transact(b, func(_ int, _ *Flow, err error) { answer = err })
	if err == nil {
		err = answer
	}
	if err != nil {
		return fmt.Errorf("datapath %s: %s: %w", d.name, op, err)
	}
	return nil
}

// GetFlow looks up a flow by its UFID, or by its key if it has none. The
// result is borrowed until the next request. The error matches ENOENT if
// there is none.
func (d *Datapath) GetFlow(f *Flow) (Flow, error) {
	d.begin(&d.fam.Flow, cmdGet, 0)
	appendFlowID(&d.enc, f)
	r, err := d.transact()
	var got Flow
	if err == nil {
		err = parseFlow(r, &got)
	}
	if err != nil {
		return got, fmt.Errorf("datapath %s: get flow: %w", d.name, err)
	}
	return got, nil
}

// FlushFlows deletes all flows of the datapath.
func (d *Datapath) FlushFlows() error {
	d.begin(&d.fam.Flow, cmdDel, 0)
	if _, err := d.transact(); err != nil {
		return fmt.Errorf("datapath %s: flush flows: %w", d.name, err)
	}
	return nil
}

// Flows dumps the flow table. A terse dump leaves out key, mask and actions of flows that have
// a UFID, if the kernel supports it (Linux >= 4.0). reset is called when the dump starts again
// because the kernel marked it as inconsistent. The table may change during a dump: a flow may
// be missed or seen twice.
func (d *Datapath) Flows(terse bool, reset func(), each func(*Flow) error) error {
	d.begin(&d.fam.Flow, cmdGet, unix.NLM_F_DUMP)
	if terse {
		d.enc.Uint32(flowAttrUFIDFlags, ufidOmitKey|ufidOmitMask|ufidOmitActions)
	}
	d.enc.End()
	var f Flow
	err := d.conn.Dump(&d.enc, reset, func(_ netlink.Header, b []byte) error {
		r, err := parseReply(b)
		if err != nil {
			return err
		}
		if err := parseFlow(r, &f); err != nil {
			return err
		}
		return each(&f)
	})
	if err != nil {
		return fmt.Errorf("datapath %s: dump flows: %w", d.name, err)
	}
	return nil
}

// parseFlow decodes a message of family ovs_flow into f, which borrows it.
func parseFlow(r reply, f *Flow) error {
	*f = Flow{}
	for rest := r.attrs; len(rest) > 0; {
		t, b, next := netlink.CutAttr(rest)
		size := len(b) // expected size
		switch t {
		case flowAttrKey:
			f.Key = b
		case flowAttrMask:
			f.Mask = b
		case flowAttrActions:
			f.Actions = b
		case flowAttrStats:
			f.Packets, f.Bytes = field64(b, 0), field64(b, 8)
		case flowAttrUsed:
			if size = 8; len(b) == size {
				f.UsedMS = int64(binary.NativeEndian.Uint64(b))
			}
		case flowAttrTCPFlags:
			if size = 1; len(b) == size {
				f.TCPFlags = b[0]
			}
		case flowAttrUFID:
			f.HasUFID = len(b) == len(f.UFID)
			copy(f.UFID[:], b)
		case netlink.NoAttr:
			return fmt.Errorf("flow message: %w", netlink.CheckAttrs(r.attrs))
		}
		if len(b) != size {
			return fmt.Errorf("flow message: attribute %d of %d bytes, want %d: %w", t, len(b), size, netlink.ErrMalformed)
		}
		rest = next
	}
	if !f.HasUFID && f.Key == nil {
		return fmt.Errorf("flow message: %w: neither key nor UFID", netlink.ErrMalformed)
	}
	return nil
}
