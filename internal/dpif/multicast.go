package dpif

import (
	"fmt"

	"dpifd/internal/netlink"
)

// NoticeOp is what happened to the object of a Notice.
type NoticeOp uint8

// Values of NoticeOp. Kernels before 4.19 send New for a change too.
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

// Notice is a notification of the multicast groups ovs_datapath, ovs_vport and ovs_flow. One of the
// last three fields is set; a flow's slices are borrowed from the message.
type Notice struct {
	Op       NoticeOp
	Index    int32 // the datapath's
	Datapath *DatapathInfo
	Vport    *Vport
	Flow     *Flow
}

// Groups returns the ids of the multicast groups for datapaths, vports and flows. While a
// program listens to flows, Linux 4.1 and 4.4 panic when a socket with an RX ring installs one.
func (f *Families) Groups() (datapath, vport, flow uint32) {
	return f.Datapath.Groups[familyDatapath], f.Vport.Groups[familyVport], f.Flow.Groups[familyFlow]
}

// ParseNotice decodes a notification: the header of a message and its payload. ok is false if
// it is of another family. Errors match netlink.ErrMalformed.
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
		return Notice{}, false, nil // an answer to a GET is not multicast
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

// ConcernedBy reports whether a notification is about the datapath, or cannot be decoded.
// payload is the message without its header.
func (d *Datapath) ConcernedBy(payload []byte) bool {
	r, err := parseReply(payload)
	return err != nil || r.index == d.idx
}
