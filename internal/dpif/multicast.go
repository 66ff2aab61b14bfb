package dpif

import (
	"fmt"

	"dpifd/internal/netlink"
)

// NoticeOp says what happened to what a Notice is about.
type NoticeOp uint8

// What may have happened. Kernels before 4.19 say New for a change too.
const (
	New NoticeOp = iota + 1
	Changed
	Deleted
)

func (o NoticeOp) String() string {
	switch o {
	case New:
		return "new"
	case Changed:
		return "set"
	case Deleted:
		return "del"
	default:
		return fmt.Sprintf("op%d", uint8(o))
	}
}

// Notice is one notification of the multicast groups ovs_datapath, ovs_vport
// and ovs_flow. One of the last three is set; a flow's slices are borrowed from
// the message.
type Notice struct {
	Op       NoticeOp
	Index    int32 // the datapath's
	Datapath *DatapathInfo
	Vport    *Vport
	Flow     *Flow
}

// Groups returns the ids of the multicast groups that tell of datapaths, vports
// and flows. Where somebody listens to flows, Linux 4.1 and 4.4 panic as soon as
// a socket that has an RX ring installs one.
func (f *Families) Groups() (datapath, vport, flow uint32) {
	return f.Datapath.Groups[familyDatapath], f.Vport.Groups[familyVport], f.Flow.Groups[familyFlow]
}

// ParseNotice decodes a notification: a message's header and what follows it.
// ok is false if it is of another family. Errors match netlink.ErrMalformed.
func (f *Families) ParseNotice(h netlink.Header, payload []byte) (n Notice, ok bool, err error) {
	switch h.Type {
	case f.Datapath.ID, f.Vport.ID, f.Flow.ID:
	default:
		return Notice{}, false, nil
	}
	r, err := parseReply(payload)
	if err != nil {
		return Notice{}, false, fmt.Errorf("notification: %w", err)
	}
	n.Index = r.index
	switch r.cmd {
	case cmdNew:
		n.Op = New
	case cmdSet:
		n.Op = Changed
	case cmdDel:
		n.Op = Deleted
	default:
		return Notice{}, false, nil // the answer to somebody's GET is not multicast
	}
	switch h.Type {
	case f.Datapath.ID:
		var info DatapathInfo
		info, err = parseDatapath(r)
		n.Datapath = &info
	case f.Vport.ID:
		var v Vport
		v, err = parseVport(r)
		n.Vport = &v
	case f.Flow.ID:
		n.Flow = new(Flow)
		err = parseFlow(r, n.Flow)
	}
	return n, err == nil, err
}

// ConcernedBy reports whether a notification is about the datapath, or cannot be
// read: payload is what follows the message's header.
func (d *Datapath) ConcernedBy(payload []byte) bool {
	r, err := parseReply(payload)
	return err != nil || r.index == d.idx
}
