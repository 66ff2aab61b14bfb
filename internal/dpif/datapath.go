package dpif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"dpifd/internal/genl"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Features is the set of OVS_DP_F_* user features.
type Features uint32

// User features, linux/openvswitch.h. Each change of a datapath must contain all wanted
// features: the kernel clears the others.
const (
	FeatureUnaligned      Features = 1 << 0 // the last attribute of an upcall may be unpadded
	FeatureVportPIDs      Features = 1 << 1 // a vport has an array of upcall PIDs
	FeatureTCRecirc       Features = 1 << 2
	FeatureDispatchPerCPU Features = 1 << 3 // upcalls go by CPU, vport PIDs are ignored

	// featureUnassigned is a bit that no kernel uses.
	featureUnassigned Features = 1 << 31
)

func (f Features) String() string { return strings.Join(f.Names(), ",") }

// Names lists the set features in the order of their bits; features without a name by number.
func (f Features) Names() []string {
	names := []struct {
		bit  Features
		name string
	}{
		{FeatureUnaligned, "unaligned"}, {FeatureVportPIDs, "vport_pids"},
		{FeatureTCRecirc, "tc_recirc_sharing"}, {FeatureDispatchPerCPU, "dispatch_upcall_per_cpu"},
	}
	on := []string{}
	for _, n := range names {
		if f&n.bit != 0 {
			on, f = append(on, n.name), f&^n.bit
		}
	}
	if f != 0 {
		on = append(on, fmt.Sprintf("%#x", uint32(f)))
	}
	return on
}

// DatapathInfo is the kernel's view of a datapath: its identity, features and
// counters since it was created.
type DatapathInfo struct {
	Name     string
	Index    int32 // ifindex of the local port, which names the datapath in requests
	Features Features
	// PerCPUPIDs are the netlink port ids that get upcalls, by CPU, with FeatureDispatchPerCPU;
	// nil if the kernel does not report them (Linux < 6.1).
	PerCPUPIDs []uint32
	Stats      DatapathStats
}

// DatapathStats holds struct ovs_dp_stats and struct ovs_dp_megaflow_stats.
type DatapathStats struct {
	Hit       uint64 `json:"hit"` // packets, as Missed and Lost
	Missed    uint64 `json:"missed"`
	Lost      uint64 `json:"lost"`
	Flows     uint64 `json:"flows"`
	MaskHit   uint64 `json:"mask_hit"` // masks tried over all look-ups
	Masks     uint32 `json:"masks"`
	CacheHit  uint64 `json:"cache_hit"`  // look-ups answered by the mask cache, Linux >= 5.10
	CacheSize uint32 `json:"cache_size"` // mask cache entries per CPU, Linux >= 5.10
}

// Datapath sends requests about one kernel datapath over one request socket.
// It serves one goroutine at a time; see Clone.
type Datapath struct {
	conn *netlink.Conn
	fam  *Families
	name string
	idx  int32
	enc  netlink.Encoder
	ops  netlink.SendBatch
}

// NewDatapath returns a Datapath for requests about the datapath of that name and index,
// without checking that it exists. The caller keeps conn and closes it after the last use of
// the Datapath.
func NewDatapath(conn *netlink.Conn, fam *Families, name string, index int32) *Datapath {
	return &Datapath{conn: conn, fam: fam, name: name, idx: index}
}

// OpenDatapath looks up the datapath of the given name. The error matches
// unix.ENODEV when there is none. The caller keeps conn and closes it after
// the last use of the Datapath.
func OpenDatapath(conn *netlink.Conn, fam *Families, name string) (*Datapath, error) {
	d := &Datapath{conn: conn, fam: fam, name: name}
	info, err := d.get(0)
	if errors.Is(err, unix.ENODEV) {
		// The kernel finds a datapath only by the original name of its local port, and only if
		// the port still has it. The list has the current names.
		list, listErr := Datapaths(conn, fam)
		i := slices.IndexFunc(list, func(dp DatapathInfo) bool { return dp.Name == name })
		if listErr == nil && i >= 0 {
			info, err = list[i], nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open datapath %s: %w", name, err)
	}
	d.idx = info.Index
	return d, nil
}

// CreateDatapath creates a datapath and its local port, an internal vport of the same name. The
// error matches unix.EEXIST when there is one.
func CreateDatapath(conn *netlink.Conn, fam *Families, name string, f Features) (*Datapath, error) {
	d := &Datapath{conn: conn, fam: fam, name: name}
	d.begin(&fam.Datapath, cmdNew, unix.NLM_F_ECHO)
	d.enc.String(dpAttrName, name)
	d.enc.Uint32(dpAttrUpcallPID, 0)
	d.enc.Uint32(dpAttrUserFeatures, uint32(f))
	if _, err := d.transact(); err != nil {
		return nil, fmt.Errorf("create datapath %s: %w", name, err)
	}
	return OpenDatapath(conn, fam, name)
}

// Clone returns a Datapath for another goroutine with its own request socket. The caller owns
// conn, as with NewDatapath.
func (d *Datapath) Clone(conn *netlink.Conn) *Datapath {
	return NewDatapath(conn, d.fam, d.name, d.idx)
}

// Conn returns the request socket.
func (d *Datapath) Conn() *netlink.Conn { return d.conn }

// Families returns the generic netlink families that requests use. They are not
// changed.
func (d *Datapath) Families() *Families { return d.fam }

// Name returns the datapath's name.
func (d *Datapath) Name() string { return d.name }

// Index returns the datapath's index.
func (d *Datapath) Index() int32 { return d.idx }

// begin opens a request in d.enc.
func (d *Datapath) begin(fam *genl.Family, cmd uint8, flags uint16) {
	d.enc.Clear()
	appendRequest(&d.enc, fam, cmd, flags, d.idx)
}

// appendRequest opens a message with its three headers.
func appendRequest(e *netlink.Encoder, fam *genl.Family, cmd uint8, flags uint16, dpIndex int32) {
	e.Begin(fam.ID, unix.NLM_F_REQUEST|flags)
	appendHeaders(e, fam, cmd, dpIndex)
}

// appendHeaders appends struct genlmsghdr and struct ovs_header.
func appendHeaders(e *netlink.Encoder, fam *genl.Family, cmd uint8, dpIndex int32) {
	if m := e.Space(headersLen); m != nil {
		putHeaders(m, fam, cmd, dpIndex)
	}
}

// headersLen is the number of bytes that appendHeaders appends.
const headersLen = 8

// putHeaders writes the headers of appendHeaders to the start of m and returns the rest.
func putHeaders(m []byte, fam *genl.Family, cmd uint8, dpIndex int32) []byte {
	h := (*[headersLen]byte)(m)
	genl.PutHeader(h[:4], cmd, fam.Version)
	binary.NativeEndian.PutUint32(h[4:], uint32(dpIndex))
	return m[headersLen:]
}

// transact sends the request in d.enc. The payload returned starts after
// struct ovs_header; it is borrowed until the next request.
func (d *Datapath) transact() (reply, error) {
	d.enc.End()
	b, err := d.conn.Transact(&d.enc)
	if err != nil || b == nil {
		return reply{}, err
	}
	return parseReply(b)
}

// reply is one parsed answer or notification: command, datapath index, attributes.
type reply struct {
	cmd   uint8
	index int32
	attrs []byte
}

// parseReply parses the payload of a message.
func parseReply(b []byte) (reply, error) {
	cmd, _, rest, err := genl.ParseHeader(b)
	if err != nil {
		return reply{}, err
	}
	if len(rest) < ovsHeaderLen {
		return reply{}, fmt.Errorf("%w: %d bytes where struct ovs_header takes %d",
			netlink.ErrMalformed, len(rest), ovsHeaderLen)
	}
	return reply{cmd, int32(binary.NativeEndian.Uint32(rest)), rest[ovsHeaderLen:]}, nil
}

func (d *Datapath) get(idx int32) (DatapathInfo, error) {
	d.enc.Clear()
	appendRequest(&d.enc, &d.fam.Datapath, cmdGet, 0, idx)
	if idx == 0 {
		d.enc.String(dpAttrName, d.name)
	}
	r, err := d.transact()
	if err != nil {
		return DatapathInfo{}, err
	}
	return parseDatapath(r)
}

// Info returns the datapath's features and counters.
func (d *Datapath) Info() (DatapathInfo, error) {
	info, err := d.get(d.idx)
	if err != nil {
		return info, fmt.Errorf("datapath %s: %w", d.name, err)
	}
	return info, nil
}

// SetFeatures requests f and returns the features that the kernel kept. If the kernel refuses
// the set (EOPNOTSUPP or EINVAL for an unknown bit), SetFeatures requests each feature
// separately, so that one unknown bit does not disable the others. perCPU are the upcall PIDs
// by CPU for FeatureDispatchPerCPU; nil keeps those of the datapath.
func (d *Datapath) SetFeatures(f Features, perCPU []uint32) (Features, error) {
	return SetFeatures(d, f, perCPU)
}

// RefusesUnknown reports whether the kernel refuses features that it does not know. Linux < 5.4
// keeps any bit, so the kept bits do not tell what the kernel supports. On such a kernel the
// datapath afterwards has only a bit without meaning.
func (d *Datapath) RefusesUnknown() (bool, error) { return RefusesUnknown(d) }

// FeatureKernel is the kernel interface for user features: a Datapath, or in tests a model of
// another kernel.
type FeatureKernel interface {
	Info() (DatapathInfo, error)
	// RequestFeatures requests exactly f in one request. Errors match unix.EOPNOTSUPP or
	// unix.EINVAL if the kernel does not know a feature.
	RequestFeatures(f Features, perCPU []uint32) error
}

// IsGone reports whether err means that the object of a request no longer exists: ENODEV, or
// ENOENT for flows and for families whose module was removed. A file that does not exist is
// no such object.
func IsGone(err error) bool {
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		return false
	}
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)
}

// SetFeatures is Datapath.SetFeatures for any kernel.
func SetFeatures(k FeatureKernel, f Features, perCPU []uint32) (Features, error) {
	err := k.RequestFeatures(f, perCPU)
	if isRefused(err) {
		var kept Features
		for bit := Features(1); bit != 0 && bit <= f; bit <<= 1 {
			if f&bit != 0 && k.RequestFeatures(kept|bit, perCPU) == nil {
				kept |= bit
			}
		}
		err = k.RequestFeatures(kept, perCPU)
	}
	if err != nil {
		return 0, err
	}
	info, err := k.Info()
	return info.Features, err
}

// RefusesUnknown is Datapath.RefusesUnknown for any kernel.
func RefusesUnknown(k FeatureKernel) (bool, error) {
	err := k.RequestFeatures(featureUnassigned, nil)
	if isRefused(err) {
		return true, nil
	}
	return false, err
}

// isRefused reports whether err is the kernel's error for unknown features.
func isRefused(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}

// RequestFeatures implements FeatureKernel.
func (d *Datapath) RequestFeatures(f Features, perCPU []uint32) error {
	d.begin(&d.fam.Datapath, cmdSet, 0)
	d.enc.Uint32(dpAttrUserFeatures, uint32(f))
	if f&FeatureDispatchPerCPU != 0 && perCPU != nil {
		b := make([]byte, 0, 4*len(perCPU))
		for _, pid := range perCPU {
			b = binary.NativeEndian.AppendUint32(b, pid)
		}
		d.enc.Attr(dpAttrPerCPUPIDs, b)
	}
	if _, err := d.transact(); err != nil {
		return fmt.Errorf("datapath %s: set user features %s: %w", d.name, f, err)
	}
	return nil
}

// Delete removes the datapath with all its vports and flows.
func (d *Datapath) Delete() error {
	d.begin(&d.fam.Datapath, cmdDel, 0)
	if _, err := d.transact(); err != nil {
		return fmt.Errorf("delete datapath %s: %w", d.name, err)
	}
	return nil
}

// parseDatapath decodes a message of family ovs_datapath.
func parseDatapath(r reply) (DatapathInfo, error) {
	info := DatapathInfo{Index: r.index}
	it := netlink.NewAttrs(r.attrs)
	for it.Next() {
		b := it.Data()
		switch it.Type() {
		case dpAttrName:
			info.Name = it.String()
		case dpAttrUserFeatures:
			info.Features = Features(it.Uint32())
		case dpAttrMasksCacheSize:
			info.Stats.CacheSize = it.Uint32()
		case dpAttrPerCPUPIDs:
			info.PerCPUPIDs = uint32s(b)
		case dpAttrStats:
			info.Stats.Hit, info.Stats.Missed = field64(b, 0), field64(b, 8)
			info.Stats.Lost, info.Stats.Flows = field64(b, 16), field64(b, 24)
		case dpAttrMegaflowStats:
			// n_masks is 32 bits followed by 32 bits of padding.
			info.Stats.MaskHit, info.Stats.CacheHit = field64(b, 0), field64(b, 16)
			if len(b) >= 12 {
				info.Stats.Masks = binary.NativeEndian.Uint32(b[8:])
			}
		}
	}
	if err := it.Err(); err != nil {
		return info, fmt.Errorf("datapath message: %w", err)
	}
	return info, nil
}

// uint32s reads an array; an incomplete last element is dropped.
func uint32s(b []byte) []uint32 {
	var list []uint32
	for ; len(b) >= 4; b = b[4:] {
		list = append(list, binary.NativeEndian.Uint32(b))
	}
	return list
}

// field64 reads a counter of a kernel structure; structures grow at their end, and fields that
// an older kernel lacks are 0.
func field64(b []byte, off int) uint64 {
	if len(b) < off+8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b[off:])
}
