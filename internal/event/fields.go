package event

// common has the meanings of fields that several events have.
var common = map[string]string{
	"actions":   "actions in the syntax of ovs-dpctl",
	"cause":     "one of a fixed set of words, see the event",
	"config":    "path of the configuration file",
	"cpus":      "CPUs that are online, as the kernel lists them",
	"created":   "true if the daemon made it",
	"datapath":  "name of the datapath",
	"device":    "name of a network device",
	"error":     "what went wrong, as text",
	"from":      "value before",
	"handlers":  "number of handlers",
	"held_back": "events of this name not written since the last one",
	"kept":      "features that the kernel has now",
	"kind": "of a device: vxlan, geneve, gre; of an upcall: miss (no flow), action (a flow sent it up); " +
		"of storm control: broadcast, multicast, unknown_unicast",
	"limit":       "number allowed",
	"limit_bytes": "memory that rings may take",
	"lost": "packets that were not forwarded; of stats and datapath_opened: misses that " +
		"the kernel could not deliver as upcalls",
	"match":        "key and mask of a static flow, as configured",
	"module":       "name of the kernel module",
	"pid":          "process id",
	"policy":       "type of the policy",
	"port":         "name of the port; empty for what belongs to none",
	"port_no":      "number of the port in the datapath; 65535 for none",
	"rcvbuf_bytes": "receive buffer granted",
	"reason":       "why",
	"socket":       "path of the control socket",
	"to":           "value after; of handed_over: exec or service_manager",
	"transport":    "ring or linear (ordinary socket I/O)",
	"type":         "kind of vport: netdev, internal, gre, vxlan, geneve; none for the socket of a handler",
	"ufid":         "identifier of the flow",
	"uid":          "user id of a process",
	"upcall_pid":   "netlink port id of the port's upcall socket",
	"was":          "value before",
}
