package odp

import (
	"os"
	"regexp"
	"testing"
)

// TestConstants compares the numbers with the kernel's header.
func TestConstants(t *testing.T) {
	const header = "/usr/include/linux/openvswitch.h"
	text, err := os.ReadFile(header)
	if err != nil {
		t.Skipf("no kernel headers: %v", err)
	}
	for _, enum := range []struct {
		name string
		want map[string]int
	}{
		{"ovs_key_attr", map[string]int{
			"OVS_KEY_ATTR_UNSPEC": KeyAttrUnspec, "OVS_KEY_ATTR_ENCAP": KeyAttrEncap,
			"OVS_KEY_ATTR_PRIORITY": KeyAttrPriority, "OVS_KEY_ATTR_IN_PORT": KeyAttrInPort,
			"OVS_KEY_ATTR_ETHERNET": KeyAttrEthernet, "OVS_KEY_ATTR_VLAN": KeyAttrVLAN,
			"OVS_KEY_ATTR_ETHERTYPE": KeyAttrEthertype, "OVS_KEY_ATTR_IPV4": KeyAttrIPv4,
			"OVS_KEY_ATTR_IPV6": KeyAttrIPv6, "OVS_KEY_ATTR_TCP": KeyAttrTCP,
			"OVS_KEY_ATTR_UDP": KeyAttrUDP, "OVS_KEY_ATTR_ICMP": KeyAttrICMP,
			"OVS_KEY_ATTR_ICMPV6": KeyAttrICMPv6, "OVS_KEY_ATTR_ARP": KeyAttrARP,
			"OVS_KEY_ATTR_ND": KeyAttrND, "OVS_KEY_ATTR_SKB_MARK": KeyAttrSkbMark,
			"OVS_KEY_ATTR_TUNNEL": KeyAttrTunnel, "OVS_KEY_ATTR_SCTP": KeyAttrSCTP,
			"OVS_KEY_ATTR_TCP_FLAGS": KeyAttrTCPFlags, "OVS_KEY_ATTR_DP_HASH": KeyAttrDPHash,
			"OVS_KEY_ATTR_RECIRC_ID": KeyAttrRecircID, "OVS_KEY_ATTR_MPLS": KeyAttrMPLS,
			"OVS_KEY_ATTR_CT_STATE": KeyAttrCTState, "OVS_KEY_ATTR_CT_ZONE": KeyAttrCTZone,
			"OVS_KEY_ATTR_CT_MARK": KeyAttrCTMark, "OVS_KEY_ATTR_CT_LABELS": KeyAttrCTLabels,
			"OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4": KeyAttrCTOrigTupleIPv4,
			"OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6": KeyAttrCTOrigTupleIPv6,
			"OVS_KEY_ATTR_NSH":                KeyAttrNSH, "OVS_KEY_ATTR_PACKET_TYPE": KeyAttrPacketType,
			"OVS_KEY_ATTR_ND_EXTENSIONS": KeyAttrNDExtensions, "OVS_KEY_ATTR_TUNNEL_INFO": KeyAttrTunnelInfo,
			"OVS_KEY_ATTR_IPV6_EXTHDRS": KeyAttrIPv6ExtHdrs,
		}},
		{"ovs_action_attr", map[string]int{
			"OVS_ACTION_ATTR_UNSPEC": ActionAttrUnspec, "OVS_ACTION_ATTR_OUTPUT": ActionAttrOutput,
			"OVS_ACTION_ATTR_USERSPACE": ActionAttrUserspace, "OVS_ACTION_ATTR_SET": ActionAttrSet,
			"OVS_ACTION_ATTR_PUSH_VLAN": ActionAttrPushVLAN, "OVS_ACTION_ATTR_POP_VLAN": ActionAttrPopVLAN,
			"OVS_ACTION_ATTR_SAMPLE": ActionAttrSample, "OVS_ACTION_ATTR_RECIRC": ActionAttrRecirc,
			"OVS_ACTION_ATTR_HASH": ActionAttrHash, "OVS_ACTION_ATTR_PUSH_MPLS": ActionAttrPushMPLS,
			"OVS_ACTION_ATTR_POP_MPLS": ActionAttrPopMPLS, "OVS_ACTION_ATTR_SET_MASKED": ActionAttrSetMasked,
			"OVS_ACTION_ATTR_CT": ActionAttrCT, "OVS_ACTION_ATTR_TRUNC": ActionAttrTrunc,
			"OVS_ACTION_ATTR_PUSH_ETH": ActionAttrPushEth, "OVS_ACTION_ATTR_POP_ETH": ActionAttrPopEth,
			"OVS_ACTION_ATTR_CT_CLEAR": ActionAttrCTClear, "OVS_ACTION_ATTR_PUSH_NSH": ActionAttrPushNSH,
			"OVS_ACTION_ATTR_POP_NSH": ActionAttrPopNSH, "OVS_ACTION_ATTR_METER": ActionAttrMeter,
			"OVS_ACTION_ATTR_CLONE": ActionAttrClone, "OVS_ACTION_ATTR_CHECK_PKT_LEN": ActionAttrCheckPktLen,
			"OVS_ACTION_ATTR_ADD_MPLS": ActionAttrAddMPLS, "OVS_ACTION_ATTR_DEC_TTL": ActionAttrDecTTL,
			"OVS_ACTION_ATTR_DROP": ActionAttrDrop, "OVS_ACTION_ATTR_PSAMPLE": ActionAttrPsample,
		}},
		{"ovs_userspace_attr", map[string]int{
			"OVS_USERSPACE_ATTR_PID": UserspaceAttrPID, "OVS_USERSPACE_ATTR_USERDATA": UserspaceAttrUserdata,
			"OVS_USERSPACE_ATTR_EGRESS_TUN_PORT": UserspaceAttrEgressTunPort,
			"OVS_USERSPACE_ATTR_ACTIONS":         UserspaceAttrActions,
		}},
	} {
		body := regexp.MustCompile(`enum ` + enum.name + ` \{([^}]*)\}`).FindSubmatch(text)
		if body == nil {
			t.Fatalf("%s has no enum %s", header, enum.name)
		}
		plain := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAll(body[1], nil)
		got := map[string]int{}
		for i, name := range regexp.MustCompile(`\b_*OVS_\w+`).FindAll(plain, -1) {
			got[string(name)] = i
		}
		for name, want := range enum.want {
			if n, ok := got[name]; ok && n != want {
				t.Errorf("%s is %d in %s, %d here", name, n, header, want)
			} else if !ok {
				t.Logf("%s has no %s", header, name)
			}
		}
		if len(got) < len(enum.want)/2 {
			t.Errorf("only %d names found in enum %s", len(got), enum.name)
		}
	}
}
