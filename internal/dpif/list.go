package dpif

import (
	"cmp"
	"fmt"
	"slices"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Datapaths lists the datapaths of the network namespace of conn, a socket of
// NETLINK_GENERIC, in order of their names. It changes nothing.
func Datapaths(conn *netlink.Conn, fam *Families) ([]DatapathInfo, error) {
	var list []DatapathInfo
	var enc netlink.Encoder
	appendRequest(&enc, &fam.Datapath, cmdGet, unix.NLM_F_DUMP, 0)
	enc.End()
	err := conn.Dump(&enc, func() { list = list[:0] }, func(_ netlink.Header, b []byte) error {
		r, err := parseReply(b)
		if err != nil {
			return err
		}
		info, err := parseDatapath(r)
		if err == nil {
			list = append(list, info)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list datapaths: %w", err)
	}
	slices.SortFunc(list, func(a, b DatapathInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
