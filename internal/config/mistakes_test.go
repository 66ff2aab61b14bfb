package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mistakes are invalid files, with the first line of each error, without the file name.
var mistakes = []struct {
	name string
	file string
	want []string
}{
	// Keys.
	{"unknown key", "datapath:\n  name: br0\n  nmae: br1\n", []string{
		`3:3: unknown key "datapath.nmae"; did you mean "datapath.name"?`}},
	{"unknown key in braces", "ring: {mode: off, frame_sizes: 4KiB}", []string{
		`1:19: unknown key "ring.frame_sizes"; did you mean "ring.frame_size"?`}},
	{"unknown key of another mapping", "handlers: 2\nrcvbuf: 4MiB\n", []string{
		`2:1: unknown key "rcvbuf"; did you mean "socket.rcvbuf"?`}},
	{"unknown key without a similar one", "socket:\n  zzzzzzzz: 1\n", []string{
		`2:3: unknown key "socket.zzzzzzzz"; known here: rcvbuf`}},
	{"unknown key after wide characters", "policy: {größe: 1, type: drop}", []string{
		`1:10: unknown key "policy.größe"; known here: type, mac_aging, mac_limit, shared_learning, forward_bpdu, multicast_snooping, multicast_flood_unregistered, multicast_group_limit, static_macs`}},
	{"unknown key with a list below it", "flowz:\n- 1\n", []string{
		`1:1: unknown key "flowz"; did you mean "flows"?`}},
	{"key in other case", "Handlers: 1\n", []string{
		`1:1: unknown key "Handlers"; did you mean "handlers"?`}},
	{"key is a number", "7: x\n", []string{
		`1:1: a key is a word, not the number 7`}},
	{"duplicate key", "handlers: 1\nnetns: blue\nhandlers: 2\n", []string{
		`3:1: handlers: duplicate key; the first is on line 1`}},
	{"duplicate key below", "log:\n  level: info\n  format: json\n  level: warn\n", []string{
		`4:3: log.level: duplicate key; the first is on line 2`}},
	{"key without value", "handlers: 3\nports:\nnetns: a\n", []string{
		`2:1: ports: has no value; give one or remove the key`}},
	{"key with null", "datapath: {create: ~}", []string{
		`1:12: datapath.create: has no value; give one or remove the key`}},

	// Types.
	{"mapping for the file", "- a\n", []string{
		`1:1: the file: want a mapping (key: value), not a list`}},
	{"word for the file", "\n  dp0\n", []string{
		`2:3: the file: want a mapping (key: value), not the string "dp0"`}},
	{"string for a mapping", "ring: auto\n", []string{
		`1:7: ring: want a mapping (key: value), not the string "auto"`}},
	{"mapping for a list", "ports:\n  name: va\n", []string{
		`2:3: ports: want a list, not a mapping`}},
	{"string for a port", "ports:\n  - {name: a}\n  - eth1\n", []string{
		`3:5: ports[1]: want a mapping (key: value), not the string "eth1"`}},
	{"nothing for a port", "ports: [{name: a}, ~]\n", []string{
		`1:20: ports[1]: want a mapping (key: value), not null`}},
	{"nothing after a dash", "ports:\n-\n- {name: a}\n", []string{
		`2:2: ports[0]: want a mapping (key: value), not null`}},
	{"list for a string", "netns: [a]\n", []string{
		`1:8: netns: want a string, not a list`}},
	{"number for a string", "datapath:\n    name: 10\n", []string{
		`2:11: datapath.name: want a string, not the number 10; quote it: "10"`}},
	{"boolean for a string", "ports: [{name: true}]", []string{
		`1:16: ports[0].name: want a string, not the boolean true; quote it: "true"`}},
	{"string for an integer", "handlers: \"4\"\n", []string{
		`1:11: handlers: want an integer, not the string "4"`}},
	{"fraction for an integer", "handlers: 1.5\n", []string{
		`1:11: handlers: want an integer, not the number 1.5`}},
	{"octal", "handlers: 010\n", []string{`1:11: handlers: want a decimal integer, not 010`}},
	{"hexadecimal", "handlers: 0x10\n", []string{`1:11: handlers: want a decimal integer, not 0x10`}},
	{"underscores", "flows: {limit: 1_000}\n", []string{`1:16: flows.limit: want a decimal integer, not 1_000`}},
	{"plus", "handlers: +1\n", []string{`1:11: handlers: want a decimal integer, not +1`}},
	{"yes", "wait_for_module: yes\n", []string{`1:18: wait_for_module: want true or false, not the string "yes"`}},
	{"one for true", "datapath: {create: 1}\n", []string{`1:20: datapath.create: want true or false, not the number 1`}},
	{"word not on the list", "datapath:\n  on_exit: remove\n", []string{
		`2:12: datapath.on_exit: want keep, flush or delete, not the string "remove"`}},
	{"word in other case", "ring: {mode: OFF}\n", []string{
		`1:14: ring.mode: want auto, require or off, not the string "OFF"`}},
	{"off as some tools rewrite it", "ring: {mode: false}\n", []string{
		`1:14: ring.mode: want auto, require or off, not the boolean false`}},
	{"list for a word", "log: {level: [info]}\n", []string{
		`1:14: log.level: want debug, info, warn or error, not a list`}},
	{"long string is cut", "log: {format: " + strings.Repeat("j", 50) + "}\n", []string{
		`1:15: log.format: want json or console, not the string "` + strings.Repeat("j", 40) + `..."`}},

	// Units.
	{"size without unit", "ring:\n  frame_size: 2560\n", []string{
		`2:15: ring.frame_size: has no unit; want B, KiB, MiB or GiB, as in 2560B`}},
	{"size with decimal unit", "socket: {rcvbuf: 64KB}\n", []string{
		`1:18: socket.rcvbuf: unknown unit "KB"; want B, KiB, MiB or GiB (sizes have binary units only)`}},
	{"size with unit in other case", "socket: {rcvbuf: 64kib}\n", []string{
		`1:18: socket.rcvbuf: unknown unit "kib"; want B, KiB, MiB or GiB (sizes have binary units only)`}},
	{"size with a blank", "socket: {rcvbuf: 4 MiB}\n", []string{
		`1:18: socket.rcvbuf: unknown unit " MiB"; want B, KiB, MiB or GiB (sizes have binary units only)`}},
	{"size with a fraction", "socket: {rcvbuf: 1.5MiB}\n", []string{
		`1:18: socket.rcvbuf: want a whole number with a unit B, KiB, MiB or GiB, not "1.5MiB"`}},
	{"size is a duration", "socket: {rcvbuf: 10s}\n", []string{
		`1:18: socket.rcvbuf: unknown unit "s"; want B, KiB, MiB or GiB (sizes have binary units only)`}},
	{"size is a boolean", "socket: {rcvbuf: true}\n", []string{
		`1:18: socket.rcvbuf: want a size, not the boolean true`}},
	{"rate without unit", "ports: [{name: a, max_upcalls: 50}]\n", []string{
		`1:32: ports[0].max_upcalls: has no unit; want /s, as in 50/s`}},
	{"rate a minute", "ports: [{name: a, max_upcalls: 50/m}]\n", []string{
		`1:32: ports[0].max_upcalls: want a whole number a second, such as 1000/s, not "50/m"`}},
	{"rate of 0 per second", "ports:\n- name: a\n  max_upcalls: -3/s\n", []string{
		`3:16: ports[0].max_upcalls: must not be negative`}},
	{"rate out of range", "ports:\n- {name: a, max_upcalls: 10000001/s}\n", []string{
		`2:26: ports[0].max_upcalls: 10000001/s is out of range; want 1/s to 10000000/s, or 0 for none`}},
	{"rate is a list", "ports:\n- {name: a, max_upcalls: [1/s]}\n", []string{
		`2:26: ports[0].max_upcalls: want a rate, not a list`}},
	{"duration without unit", "flows:\n  max_idle: 10\n", []string{
		`2:13: flows.max_idle: has no unit; want ms, s, m or h, as in 10s`}},
	{"duration in days", "policy: {mac_aging: 1d}\n", []string{
		`1:21: policy.mac_aging: want a number with a unit, such as 500ms, 10s, 5m or 1h30m, not "1d"`}},
	{"duration is a size", "policy: {mac_aging: 1KiB}\n", []string{
		`1:21: policy.mac_aging: want a number with a unit, such as 500ms, 10s, 5m or 1h30m, not "1KiB"`}},
	{"duration is a fraction without unit", "log: {stats_interval: 2.5}\n", []string{
		`1:23: log.stats_interval: want a number with a unit, such as 500ms, 10s, 5m or 1h30m, not "2.5"`}},
	{"duration is a list", "log: {stats_interval: []}\n", []string{
		`1:23: log.stats_interval: want a duration, not a list`}},

	// Ranges.
	{"negative integer", "flows:\n  limit: -1\n", []string{`2:10: flows.limit: must not be negative`}},
	{"negative size", "ring:\n  memory_limit: -64MiB\n", []string{`2:17: ring.memory_limit: must not be negative`}},
	{"negative duration", "flows: {max_idle: -10s}\n", []string{`1:19: flows.max_idle: must not be negative`}},
	{"integer too large", "handlers: 1025\n", []string{`1:11: handlers: 1025 is out of range; want 0 to 1024`}},
	{"integer beyond 64 bits", "policy: {mac_limit: 99999999999999999999}\n", []string{
		`1:21: policy.mac_limit: 99999999999999999999 is out of range; want 1 to 1000000`}},
	{"integer too small", "policy: {mac_limit: 0}\n", []string{
		`1:21: policy.mac_limit: 0 is out of range; want 1 to 1000000`}},
	{"size of nothing", "socket: {rcvbuf: 0}\n", []string{
		`1:18: socket.rcvbuf: 0 is out of range; want 64KiB to 512MiB`}},
	{"size beyond 64 bits", "ring: {memory_limit: 18446744073709551615GiB}\n", []string{
		`1:22: ring.memory_limit: 18446744073709551615GiB is out of range; want 4KiB to 16GiB`}},
	{"size that would wrap to a good one", "ring: {memory_limit: 17179869185GiB}\n", []string{
		`1:22: ring.memory_limit: 17179869185GiB is out of range; want 4KiB to 16GiB`}},
	{"too long a duration", "flows: {max_dump: 2m}\n", []string{`1:19: flows.max_dump: 2m is out of range; want 100ms to 1m`}},
	{"duration of nothing", "flows: {max_idle: 0}\n", []string{
		`1:19: flows.max_idle: 0 is out of range; want 100ms to 24h`}},
	{"duration too long", "policy: {mac_aging: 24h1s}\n", []string{
		`1:21: policy.mac_aging: 24h1s is out of range; want 1s to 24h`}},
	{"duration too short or off", "log: {stats_interval: 99ms}\n", []string{
		`1:23: log.stats_interval: 99ms is out of range; want 100ms to 24h, or 0 for off`}},

	// Names.
	{"empty datapath name", "datapath: {name: \"\"}\n", []string{`1:18: datapath.name: the name is empty`}},
	{"empty port name", "ports:\n  - name: ''\n", []string{`2:11: ports[0].name: the name is empty`}},
	{"port without name", "ports:\n  - {name: a}\n  - type: internal\n  - {}\n", []string{
		`3:5: ports[1]: a port has no name`, `4:5: ports[2]: a port has no name`}},
	{"name of 16 bytes", "ports: [{name: abcdefghijklmnop}]\n", []string{
		`1:16: ports[0].name: "abcdefghijklmnop" has 16 bytes; a device name has at most 15`}},
	{"name of 14 characters in 16 bytes", "datapath: {name: äöcdefghijklmn}\n", []string{
		`1:18: datapath.name: "äöcdefghijklmn" has 16 bytes; a device name has at most 15`}},
	{"name with a slash", "ports: [{name: a/b}]\n", []string{`1:16: ports[0].name: "a/b" contains /, which is not allowed in device names`}},
	{"name with a colon", "ports: [{name: eth0:1}]\n", []string{`1:16: ports[0].name: "eth0:1" contains :, which is not allowed in device names`}},
	{"name with a blank", "datapath: {name: br 0}\n", []string{`1:18: datapath.name: "br 0" contains white space or a control character`}},
	{"name with an escaped line end", `datapath: {name: "br\n0"}`, []string{`1:18: datapath.name: "br\n0" contains white space or a control character`}},
	{"name with a zero", `datapath: {name: "br\0"}`, []string{`1:18: datapath.name: "br\x00" contains white space or a control character`}},
	{"name that the kernel would number", "datapath: {name: 'dp%d'}\n", []string{`1:18: datapath.name: "dp%d" contains a %, which the kernel treats as a pattern`}},
	{"name with a byte that is a blank in Latin-1", "datapath: {name: voilà}\n", []string{
		`1:18: datapath.name: "voilà" contains byte 0xa0, which the kernel treats as white space`}},
	{"name is a directory", "ports: [{name: ..}]\n", []string{`1:16: ports[0].name: ".." is not a device name`}},
	{"duplicate port", "ports:\n  - {name: va}\n  - {name: vb}\n  - {name: va, type: internal}\n", []string{
		`4:12: ports[2].name: duplicate port "va"; the first is on line 2`}},
	{"port is the datapath", "datapath: {name: br7}\nports: [{name: br7}]\n", []string{
		`2:16: ports[0].name: "br7" is the datapath's own local port, which is of type internal`}},
	{"port is the default datapath", "ports: [{name: dp0, type: netdev}]\n", []string{
		`1:16: ports[0].name: "dp0" is the datapath's own local port, which is of type internal`}},
	{"relative namespace", "netns: run/netns/a\n", []string{`1:8: netns: "run/netns/a" is neither a name nor an absolute path`}},
	{"relative socket", "control: {socket: dp0.sock}", []string{`1:19: control.socket: "dp0.sock" is neither an absolute path of a file nor auto or off`}},
	{"socket is a folder", "control: {socket: /run/}", []string{`1:19: control.socket: "/run/" is neither an absolute path of a file nor auto or off`}},
	{"long socket", "control: {socket: /" + strings.Repeat("s", 107) + "}", []string{`1:19: control.socket: a socket's path has at most 107 bytes`}},
	{"group with a colon", `control: {group: "a:b"}`, []string{`1:18: control.group: "a:b" is not a group's name: 1 to 32 bytes without white space and colons`}},
	{"mode in decimal", "control: {mode: 0888}", []string{`1:17: control.mode: want octal permissions such as 0660, not "0888"`}},
	{"mode too long", `control: {mode: "02660"}`, []string{`1:17: control.mode: want octal permissions such as 0660, not "02660"`}},
	{"mode out of range", "control: {mode: 0777}", []string{`1:17: control.mode: 0777 is out of range; want 0600 to 0666`}},
	{"mode as a list", "control: {mode: [6]}", []string{`1:17: control.mode: want a file mode, not a list`}},
	{"namespace is a directory", "netns: .\n", []string{`1:8: netns: "." is not a namespace`}},
	{"namespace with a zero", `netns: "a\0b"`, []string{`1:8: netns: "a\x00b" contains a control character or is not UTF-8`}},
	{"namespace too long", "netns: " + strings.Repeat("n", 256), []string{`1:8: netns: a name has at most 255 bytes`}},
	{"namespace path too long", "netns: /" + strings.Repeat("n", 4095), []string{`1:8: netns: a path has at most 4095 bytes`}},

	// VLANs and isolation.
	{"VLAN 0", "ports: [{name: a, vlan: {access: 0}}, {name: b, vlan: {native: 0}}, {name: c, vlan: {trunk: [1, 0]}}]\n", []string{
		`1:34: ports[0].vlan.access: 0 is out of range; want 1 to 4094`,
		`1:64: ports[1].vlan.native: 0 is out of range; want 1 to 4094`,
		`1:97: ports[2].vlan.trunk[1]: VLAN 0 is out of range; want 1 to 4094`}},
	{"VLAN 4095", "ports: [{name: a, vlan: {access: 4095}}, {name: c, vlan: {trunk: [4000-4095]}}]\n", []string{
		`1:34: ports[0].vlan.access: 4095 is out of range; want 1 to 4094`,
		`1:67: ports[1].vlan.trunk[0]: VLAN 4095 is out of range; want 1 to 4094`}},
	{"no VLAN", "ports: [{name: a, vlan: {trunk: [x, 7-, 9-3, {a: 1}]}}, {name: b, vlan: {trunk: []}}, {name: c, vlan: {trunk: 5}}]\n", []string{
		`1:34: ports[0].vlan.trunk[0]: want a VLAN, such as 10, or a range, such as 20-29, not "x"`,
		`1:37: ports[0].vlan.trunk[1]: want a VLAN, such as 10, or a range, such as 20-29, not "7-"`,
		`1:41: ports[0].vlan.trunk[2]: the range 9-3 ends before it begins`,
		`1:46: ports[0].vlan.trunk[3]: want a value, not a mapping`,
		`1:81: ports[1].vlan.trunk: is empty; without it the port is a trunk of all VLANs`,
		`1:111: ports[2].vlan.trunk: want a list, not the number 5`}},
	{"access and trunk", "ports:\n  - name: a\n    vlan: {access: 3, trunk: [4], native: 5}\n", []string{
		`3:30: ports[0].vlan.trunk: cannot be combined with vlan.access: a port is an access port or a trunk`,
		`3:43: ports[0].vlan.native: cannot be combined with vlan.access: a port is an access port or a trunk`}},
	{"VLAN twice", "ports: [{name: a, vlan: {trunk: [1-10, 20, 5]}}]\n", []string{
		`1:44: ports[0].vlan.trunk[2]: 5 overlaps 1-10, entry 0`}},
	{"loop guard of a tunnel and a mirror", "ports: [{name: v, type: vxlan, tunnel: {remote: 192.0.2.1}, loop_guard: log}, {name: a, mirror_to: m}, {name: m, loop_guard: block}]\n", []string{
		`1:73: ports[0].loop_guard: is not for tunnels: set it at the peer's other ports`,
		`1:126: ports[2].loop_guard: port "m" is a mirror, which forwards nothing`,
	}},
	{"group of no isolated port", "ports: [{name: a, group: g}, {name: b, isolated: true, group: 'a b'}]\n", []string{
		`1:26: ports[0].group: is for isolated ports; set isolated: true as well`,
		`1:63: ports[1].group: "a b" contains white space or a control character`}},

	// Static MACs.
	{"not to be allowed", "ports: [{name: a, allow: {macs: [x], addresses: [10.0.0.0/8, 10.0.0.1/8, 224.0.0.1, '::', 'fe80::1%a', 10.0.0.0/33]}}, {name: b, allow: {macs: []}}]\n", []string{
		`1:34: ports[0].allow.macs[0]: want a MAC, such as 02:00:5e:00:00:01, not "x"`,
		`1:62: ports[0].allow.addresses[1]: "10.0.0.1/8" has bits beyond its prefix; write 10.0.0.0/8 for the network or 10.0.0.1 for the host`,
		`1:74: ports[0].allow.addresses[2]: "224.0.0.1" is not the source of any packet`,
		`1:85: ports[0].allow.addresses[3]: "::" is not the source of any packet`,
		`1:91: ports[0].allow.addresses[4]: "fe80::1%a" is neither an address nor a prefix, such as 192.0.2.1 or 2001:db8::/64`,
		`1:104: ports[0].allow.addresses[5]: "10.0.0.0/33" is neither an address nor a prefix, such as 192.0.2.1 or 2001:db8::/64`,
		`1:144: ports[1].allow.macs: is empty; without it any is allowed`,
	}},
	{"no MAC", "policy: {static_macs: [{port: a}, {mac: x, port: a}, {mac: ff:ff:ff:ff:ff:ff, port: a}, {mac: 02:00:5e:00:00:01}]}\n", []string{
		`1:24: policy.static_macs[0]: a static MAC has no mac`,
		`1:41: policy.static_macs[1].mac: want a MAC, such as 02:00:5e:00:00:01, not "x"`,
		`1:60: policy.static_macs[2].mac: ff:ff:ff:ff:ff:ff is a multicast address, not a station`,
		`1:89: policy.static_macs[3]: a static MAC has no port`}},
	{"MAC twice", "policy:\n  static_macs: [{mac: 02:00:5e:00:00:01, port: a}, {mac: 02:00:5e:00:00:01, port: b, vlan: 3},\n" +
		"    {mac: 02-00-5E-00-00-01, port: b}]\n", []string{
		`3:11: policy.static_macs[2].mac: 02:00:5e:00:00:01 is listed twice; the first is on line 2`}},

	// Static flows.
	{"half a static flow", "flows:\n  static:\n  - match: in_port(1)\n  - {actions: '1', match: ''}\n", []string{
		`3:5: flows.static[0]: a static flow has no actions`}},
	{"static flow that is empty", "flows:\n  static:\n  - {actions: '1', match: ''}\n", []string{
		`3:27: flows.static[0].match: is empty`}},
	{"static flow with no key", "flows:\n  static:\n  - match: in_port(a),ether(src=1)\n    actions: drop\n", []string{
		`3:23: flows.static[0].match: expected a key attribute such as in_port(1), found "ether"`}},
	{"static flow with no action, in quotes", "flows: {static: [{match: in_port(a), actions: \"a,pop(\"}]}\n", []string{
		`1:50: flows.static[0].actions: "pop" is not an action`}},
	{"static flow that lacks a field", "flows:\n  static:\n  - match: in_port(a),eth(),tcp(dst=80)\n    actions: b\n", []string{
		`3:12: flows.static[0].match: tcp(...) needs eth_type(0x0800) or eth_type(0x86dd), and proto=6`}},
	{"static flow on a tunnel", "flows:\n  static:\n  - match: tunnel(tun_id=0x1),in_port(a),eth()\n    actions: b\n", []string{
		`3:12: flows.static[0].match: static flows do not match on attribute tunnel(...)`}},
	{"static flows that overlap", "flows:\n  static:\n  - {match: 'in_port(b),eth()', actions: b}\n  - {match: 'in_port(a),eth()', actions: b}\n" +
		"  - match: \"eth(dst=02:00:00:00:00:01)\"\n    actions: c\n", []string{
		`5:12: flows.static[2].match: overlaps flows.static[0].match at dir/f.yaml:3:13, which has other actions; flows in the kernel have no priorities`}},
	{"static flows of what may be one port", "flows:\n  static:\n  - {match: 'in_port(b),eth()', actions: a}\n  - {match: 'in_port(2),eth()', actions: b}\n", []string{
		`4:13: flows.static[1].match: overlaps flows.static[0].match at dir/f.yaml:3:13, which has other actions; flows in the kernel have no priorities`}},

	// Rings, by the kernel's rules.
	{"block of no whole pages", "ring: {block_size: 5000B}\n", []string{
		`1:20: ring.block_size: 5000B is not a multiple of the page size, 4KiB`}},
	{"frame smaller than its header", "ring: {frame_size: 20B}\n", []string{
		`1:20: ring.frame_size: 20B is out of range; want 24B to 1GiB`}},
	{"frame not aligned", "ring: {frame_size: 2562B}\n", []string{
		`1:20: ring.frame_size: 2562B is not a multiple of 4 bytes`}},
	{"frame larger than a block", "ring:\n  frame_size: 68KiB\n", []string{
		`2:15: ring.frame_size: a frame of 68KiB does not fit in a block of 64KiB (ring.block_size)`}},
	{"block smaller than a frame", "ring: {block_size: 4KiB, frame_size: 8KiB}\n", []string{
		`1:38: ring.frame_size: a frame of 8KiB does not fit in a block of 4KiB (ring.block_size)`}},
	{"no blocks", "ring: {blocks: 0}\n", []string{`1:16: ring.blocks: 0 is out of range; want 1 to 1048576`}},
	{"ring over the default limit", "ring: {blocks: 8193}\n", []string{
		`1:16: ring.blocks: one ring of 8193 blocks (ring.blocks) of 64KiB (ring.block_size) is 524352KiB, over the limit of 512MiB for all`}},
	{"limit below the default ring", "ring: {memory_limit: 1MiB}\n", []string{
		`1:22: ring.memory_limit: one ring of 256 blocks (ring.blocks) of 64KiB (ring.block_size) is 16MiB, over the limit of 1MiB for all`}},
	{"no total of a ring that is wrong anyway", "ring:\n  block_size: 64KB\n  frame_size: 128KiB\n  blocks: 1048576\n", []string{
		`2:15: ring.block_size: unknown unit "KB"; want B, KiB, MiB or GiB (sizes have binary units only)`}},

	// The document.
	{"second document", "handlers: 1\n---\nhandlers: 2\n", []string{`2:1: second document; a file holds one`}},
	{"second document, empty", "---\nhandlers: 1\n---\n", []string{`3:1: second document; a file holds one`}},
	{"second document, broken", "handlers: 1\n--- \n[\n", []string{`2:1: second document; a file holds one`}},
	{"content after the end", "handlers: 1\n...\nnetns: a\n", []string{`3:1: content after the end of the document (...)`}},
	{"empty file", "", []string{`holds no configuration; {} would be all defaults`}},
	{"only blanks", "\n \n\n", []string{`holds no configuration; {} would be all defaults`}},
	{"only comments", "# handlers: 1\n", []string{`holds no configuration; {} would be all defaults`}},
	{"only a header", "---\n", []string{`holds no configuration; {} would be all defaults`}},
	{"null", "~\n", []string{`1:1: the file: want a mapping (key: value), not null`}},
	{"anchor", "netns: &n blue\n", []string{`1:8: anchors (&) are not taken here; write the value out`}},
	{"alias", "netns: *n\n", []string{`1:8: aliases (*) are not taken here; write the value out`}},
	{"merge key", "log:\n  <<: {level: info}\n", []string{`2:3: merge keys (<<) are not taken here; write the value out`}},
	{"tag", "handlers: !!int \"3\"\n", []string{`1:11: tags (!) are not taken here; write the value out`}},
	{"directive", "%YAML 1.1\n---\nhandlers: 1\n", []string{`1:1: directives (%) are not taken here; write the value out`}},
	{"explicit key", "? handlers\n: 1\n", []string{`1:1: the explicit key sign (?) is not taken here; write the value out`}},
	{"block string", "netns: |\n  blue\n", []string{`1:8: block strings (|) are not taken here; write the value out`}},
	{"folded string", "netns: >\n  blue\n", []string{`1:8: block strings (>) are not taken here; write the value out`}},
	{"invalid UTF-8", "handlers: 1\n# ab\xffc\n", []string{`2:5: byte 0xff is not UTF-8`}},
	{"control character", "netns: \"ü\x00\"\n", []string{`1:10: control character U+0000`}},
	{"lone carriage return", "handlers: 1\rnetns: a\n", []string{`1:12: control character U+000D`}},
	{"tab as indentation", "log:\n\tlevel: info\n", []string{`2:1: tab; indent and separate with blanks`}},
	{"tab before a comment", "# \t\nnetns: a#\t# \t", []string{`2:10: tab; indent and separate with blanks`}},
	{"unterminated string", "handlers: 1\nnetns: 'a\n", []string{`2:8: not YAML: could not find end character of single-quoted text`}},
	{"unterminated list", "handlers: 1\nports: [{name: a}\n", []string{`2:8: not YAML: sequence end token ']' not found`}},
	{"two values", "log: level: info\n", []string{`1:6: not YAML: mapping value is not allowed in this context; quote a value that has a colon`}},
	{"two mappings", "{handlers: 1}\n{netns: a}\n", []string{`2:1: not YAML: value is not allowed in this context`}},
	{"deep braces", "netns: " + strings.Repeat("[", 17) + strings.Repeat("]", 17), []string{`1:24: nested too deep`}},
	{"deep indentation", strings.Repeat("- ", 40) + "a\n", []string{`1:65: nested too deep`}},
	{"deep keys", strings.Repeat("a:\n ", 3) + strings.Repeat(" ", 70) + "b: 1\n", []string{`4:72: nested too deep`}},
	{"dash in brackets", "ports: [- {name: a}]", []string{`1:9: not YAML: a list in braces or brackets has no dashes`}},
	{"closed more than opened, then deep", "netns: ]]]" + strings.Repeat("{", 17), []string{`1:27: nested too deep`}},
	{"too many keys", strings.Repeat("netns: a\n", 257), []string{`257:1: too many keys in one mapping`}},
	{"too many keys below", "log:\n" + strings.Repeat("  level: info\n", 257), []string{`258:3: too many keys in one mapping`}},
	{"too many tokens", "ports: [" + strings.Repeat("{},", 22_000), []string{
		`1:65542: too long; a file has at most 65536 words and signs`}},

	// Line ends, and more than one mistake.
	{"Windows line ends and byte order mark", "\ufeffhandlers: 1\r\nlog:\r\n  level: all\r\n", []string{
		`3:10: log.level: want debug, info, warn or error, not the string "all"`}},
	{"byte order mark before the mistake", "\ufeffhandlers: x\n", []string{
		`1:11: handlers: want an integer, not the string "x"`}},
	{"no rule about a name that is wrong anyway", "datapath: {name: 0}\nports: [{name: dp0}, x]\n", []string{
		`1:18: datapath.name: want a string, not the number 0; quote it: "0"`,
		`2:22: ports[1]: want a mapping (key: value), not the string "x"`}},
	{"all of a file", "handlers: -1\nports:\n  - {name: a b}\n  - {nam: c}\nnetn: x\nlog:\n  level: 3\n", []string{
		`1:11: handlers: must not be negative`,
		`3:12: ports[0].name: "a b" contains white space or a control character`,
		`4:6: unknown key "ports[1].nam"; did you mean "ports[1].name"?`,
		`5:1: unknown key "netn"; did you mean "netns"?`,
		`7:10: log.level: want debug, info, warn or error, not the number 3`}},
}

func TestMistakes(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			c, err := Parse("dir/f.yaml", []byte(m.file))
			if c != nil {
				t.Errorf("Parse returned a Config with its error")
			}
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("Parse = %v, want Errors", err)
			}
			var got, want []string
			for _, e := range errs {
				first, rest, _ := strings.Cut(e.Error(), "\n")
				got = append(got, first)
				if rest != e.Excerpt || (e.Line > 0) != (e.Excerpt != "") {
					t.Errorf("line %d has excerpt %q, below the message %q", e.Line, e.Excerpt, rest)
				}
			}
			for _, w := range m.want {
				sep := ":"
				if strings.HasPrefix(w, "holds") {
					sep = ": "
				}
				want = append(want, "dir/f.yaml"+sep+w)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("errors (-want +got):\n%s", d)
			}
		})
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct {
		name, file, want string
	}{
		{"first line", "handlers: x\nnetns: a\n", "" +
			"> 1 | handlers: x\n" +
			"    |           ^\n" +
			"  2 | netns: a"},
		{"last line", "handlers: 1\n\nwat: 2\n", "" +
			"  2 |\n" +
			"> 3 | wat: 2\n" +
			"    | ^"},
		{"number of lines grows", strings.Repeat("#\n", 8) + "log:\n   level: x\n# end", "" +
			"   9 | log:\n" +
			"> 10 |    level: x\n" +
			"     |           ^\n" +
			"  11 | # end"},
		{"tab in a comment", "log: {level: x} #\ta", "" +
			"> 1 | log: {level: x} # a\n" +
			"    |              ^"},
		{"nothing for a terminal to act on", "handlers: x # \u202e\n", "" +
			"> 1 | handlers: x # \ufffd\n" +
			"    |           ^"},
		{"long line is cut on the left", "netns: \"" + long + "\" \x01", "" +
			"> 1 | " + strings.Repeat("x", 73) + "\" \ufffd\n" +
			"    | " + strings.Repeat(" ", 75) + "^"},
		{"long line is cut on the right", "nets: " + long, "" +
			"> 1 | nets: " + strings.Repeat("x", 94) + "\n" +
			"    | ^"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.file))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Parse = %v, want an *Error", err)
			}
			if d := cmp.Diff(tt.want, e.Excerpt); d != "" {
				t.Errorf("excerpt (-want +got):\n%s", d)
			}
		})
	}
}

// TestManyMistakes checks the bound on the errors for an invalid file.
func TestManyMistakes(t *testing.T) {
	var b strings.Builder
	b.WriteString("ports:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - {name: p%d, typ: x}\n", i)
	}
	_, err := Parse("f", []byte(b.String()))
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != maxErrors {
		t.Fatalf("%d errors, want %d", len(errs), maxErrors)
	}
	if errs[0].Line != 2 || errs[maxErrors-1].Line != 1+maxErrors {
		t.Errorf("errors of lines %d to %d, want the first %d of the file", errs[0].Line, errs[maxErrors-1].Line, maxErrors)
	}
}
