package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/genl"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// notUsed is what dpifd does without a feature that only configured flows use.
const notUsed = "the policies do not use it; static flows with it are refused"

// noMeters is what dpifd does without meters.
const noMeters = "floods are not limited: ports[].storm has no effect, and is said to have none"

// datapathTrials need a datapath.
func datapathTrials() []trial[*sandbox] {
	list := []trial[*sandbox]{
		{"feature_unaligned", feature(dpif.FeatureUnaligned), "upcalls are padded, and copied once more in the kernel"},
		{"feature_vport_pids", feature(dpif.FeatureVportPIDs), "a vport's upcall PID is a single number, which is " +
			"what dpifd sets anyway"},
		{"feature_tc_recirc", tcRecirc, "nothing changes: dpifd does not offload to tc"},
		{"feature_per_cpu", perCPU, "dispatch is per-vport, whatever the configuration says"},
		{"ufid", ufid, "flows are identified by their keys, and every dump is a full one"},
		{"masks_cache", masksCache, "the kernel looks flows up mask by mask"},
		{"upcall_stats", upcallStats, "upcalls that the kernel could not queue are counted as socket drops only"},
		{"meter", meter, noMeters},
		{"ct_limit", ctLimit, "nothing changes: dpifd does not limit connections"},
	}
	for _, a := range actionTrials {
		list = append(list, trial[*sandbox]{"action_" + a.name, a.try, a.without})
	}
	return list
}

// feature requests one user feature and reads back the result.
func feature(f dpif.Features) func(*sandbox) (string, error) {
	return func(s *sandbox) (string, error) {
		kept, err := s.dp.SetFeatures(f, nil)
		if err == nil && kept&f == 0 {
			err = errors.New("the kernel does not keep it")
		}
		return "kept", err
	}
}

// tcRecirc is a feature that is as old as the kernel's check of features.
func tcRecirc(s *sandbox) (string, error) {
	detail, err := feature(dpif.FeatureTCRecirc)(s)
	if err == nil {
		err = checked(s)
	}
	return detail, err
}

// checked returns nil if the kernel only keeps features that it knows.
func checked(s *sandbox) error {
	refuses, err := s.dp.RefusesUnknown()
	if err == nil && !refuses {
		err = errors.New("the kernel keeps it, but it keeps any bit")
	}
	return err
}

// perCPU requests per-CPU dispatch with a list of port ids.
func perCPU(s *sandbox) (string, error) {
	pids := binary.NativeEndian.AppendUint32(nil, s.conn.PortID())
	_, err := s.request(cmdSet, func(e *netlink.Encoder) {
		e.Uint32(dpAttrUserFeatures, uint32(dpif.FeatureDispatchPerCPU))
		e.Attr(dpAttrPerCPUPIDs, pids)
	})
	if err != nil {
		return "", err
	}
	info, err := s.dp.Info()
	switch {
	case err != nil:
		return "", err
	case info.Features&dpif.FeatureDispatchPerCPU == 0:
		return "", errors.New("the kernel does not keep it")
	case info.PerCPUPIDs == nil:
		return "kept; the kernel does not tell the port ids", checked(s)
	case !slices.Equal(info.PerCPUPIDs, []uint32{s.conn.PortID()}):
		return "", fmt.Errorf("the kernel keeps port ids %d of %d", info.PerCPUPIDs, s.conn.PortID())
	}
	return "kept, with its port ids", nil
}

// flow returns an exact flow from a port that does not exist, with the attributes that actions
// may need.
func flow(actions []byte) *dpif.Flow {
	key, mask, err := odp.Text{}.ParseKey("in_port(9),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)," +
		"eth_type(0x0800),ipv4(frag=no)")
	if err != nil {
		panic(err) // a constant text
	}
	return &dpif.Flow{UFID: dpif.UFID{9, 15: 9}, HasUFID: true, Key: key, Mask: mask, Actions: actions}
}

// ufid installs a flow, finds it by its identifier and in a terse dump.
func ufid(s *sandbox) (string, error) {
	want := flow(nil)
	if err := s.dp.PutFlow(want, dpif.Create); err != nil {
		return "", err
	}
	got, err := s.dp.GetFlow(&dpif.Flow{UFID: want.UFID, HasUFID: true})
	if err != nil || got.UFID != want.UFID {
		return "", errors.Join(err, s.dp.FlushFlows(), errors.New("a flow is not found by its UFID"))
	}
	terse := false
	err = s.dp.Flows(true, func() { terse = false }, func(f *dpif.Flow) error {
		terse = f.HasUFID && f.Key == nil
		return nil
	})
	if err = errors.Join(err, s.dp.FlushFlows()); err == nil && !terse {
		return "flows are found by it; dumps are never terse", nil
	}
	return "flows are found by it, and dumped tersely", err
}

func masksCache(s *sandbox) (string, error) {
	info, err := s.dp.Info()
	if err != nil {
		return "", err
	}
	if info.Stats.CacheSize == 0 {
		return "", errors.New("the kernel reports none")
	}
	want := 2 * info.Stats.CacheSize
	_, err = s.request(cmdSet, func(e *netlink.Encoder) { e.Uint32(dpAttrMasksCacheSize, want) })
	if err != nil {
		return "", err
	}
	changed, err := s.dp.Info()
	if err == nil && changed.Stats.CacheSize != want {
		err = fmt.Errorf("size is still %d, although %d was requested", changed.Stats.CacheSize, want)
	}
	return fmt.Sprintf("%d entries per CPU, which can be changed", info.Stats.CacheSize), err
}

func upcallStats(s *sandbox) (string, error) {
	vports, err := s.dp.Vports()
	if err == nil && (len(vports) == 0 || !vports[0].Upcalls.Known) {
		err = errors.New("a vport has none")
	}
	return "a vport counts what was sent up and what could not be", err
}

// meter reads the limits of meters, and creates two.
func meter(s *sandbox) (string, error) {
	if s.fam.Meter == nil {
		return "", genl.ErrNotFound
	}
	answer, err := ovsRequest(s.conn, s.fam.Meter, meterCmdFeatures, s.dp.Index(), nil)
	if err != nil {
		return "", err
	}
	var meters, bands uint32
	it := netlink.NewAttrs(answer)
	for it.Next() {
		switch it.Type() {
		case meterAttrMaxMeters:
			meters = it.Uint32()
		case meterAttrMaxBands:
			bands = it.Uint32()
		}
	}
	if err := it.Err(); err != nil {
		return "", err
	}
	// Two: Linux 4.15 to 4.17 keep the first only.
	for id := range uint32(2) {
		if err := s.dp.SetMeter(dpif.Meter{ID: id + 1, PacketsPerSecond: 1000}); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d meters of %d bands at most", meters, bands), nil
}

// ctLimit reads the default limit. Setting one would turn the check on for all datapaths of the
// host.
func ctLimit(s *sandbox) (string, error) {
	if s.fam.CTLimit == nil {
		return "", genl.ErrNotFound
	}
	answer, err := ovsRequest(s.conn, s.fam.CTLimit, cmdGet, s.dp.Index(), nil)
	if err == nil && len(answer) == 0 {
		err = errors.New("the kernel reports no limit")
	}
	return "limits of connections by zone can be read", err
}

// actionTrials install a flow with one action.
var actionTrials = []struct {
	name, without string
	try           func(*sandbox) (string, error)
}{
	{"ct", notUsed, action(func(e *netlink.Encoder) { e.Nested(odp.ActionAttrCT, func(*netlink.Encoder) {}) })},
	{"clone", notUsed, action(func(e *netlink.Encoder) { e.Nested(odp.ActionAttrClone, func(*netlink.Encoder) {}) })},
	{"dec_ttl", notUsed, action(func(e *netlink.Encoder) {
		e.Nested(odp.ActionAttrDecTTL, func(e *netlink.Encoder) { e.Nested(decTTLAttrAction, func(*netlink.Encoder) {}) })
	})},
	{"drop", "packets are dropped by a flow without actions, and the kernel does not tell why",
		action(func(e *netlink.Encoder) { e.Uint32(odp.ActionAttrDrop, 0) })},
	{"psample", notUsed, action(func(e *netlink.Encoder) {
		e.Nested(odp.ActionAttrPsample, func(e *netlink.Encoder) { e.Uint32(psampleAttrGroup, 1) })
	})},
}

func action(encode func(*netlink.Encoder)) func(*sandbox) (string, error) {
	var e netlink.Encoder
	encode(&e)
	actions := bytes.Clone(e.Bytes())
	return func(s *sandbox) (string, error) {
		err := s.dp.PutFlow(flow(actions), dpif.Create)
		var errno unix.Errno
		if errors.As(err, &errno) {
			return "", fmt.Errorf("a flow with it is refused: %w", errno)
		}
		return "a flow with it is taken", errors.Join(err, s.dp.FlushFlows())
	}
}
