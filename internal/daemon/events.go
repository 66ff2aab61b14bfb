package daemon

import "go.uber.org/zap/zapcore"

// event declares one kind of log line. Its fields are always all present.
type event struct {
	name    string
	level   zapcore.Level
	fields  []string
	meaning string
}

// events lists all that were defined, in order.
var events []*event

func define(name string, level zapcore.Level, meaning string, fields ...string) *event {
	e := &event{name: name, level: level, fields: fields, meaning: meaning}
	events = append(events, e)
	return e
}

// Start and stop.
var (
	evStarting = define("starting", zapcore.InfoLevel,
		"The daemon starts.",
		"version", "pid", "config", "netns")
	evModuleLoading = define("module_loading", zapcore.InfoLevel,
		"The kernel has no openvswitch families; loading the module is tried once.",
		"module")
	evModuleLoadFailed = define("module_load_failed", zapcore.WarnLevel,
		"The module could not be loaded. The daemon ends with an error, or waits if wait_for_module is set.",
		"module", "error")
	evModuleWaiting = define("module_waiting", zapcore.WarnLevel,
		"The daemon waits for the module to be loaded (wait_for_module). Said at first and then once a minute.",
		"module", "waited_s")
	evDatapathOpened = define("datapath_opened", zapcore.InfoLevel,
		"The datapath was found, or created if `created` is true. The counters are the kernel's, since the datapath was made.",
		"datapath", "dp_index", "created", "flows", "hit", "missed", "lost")
	evDatapathGone = define("datapath_gone", zapcore.ErrorLevel,
		"The datapath was deleted, or the module removed, while it was served. With `create` the datapath is created anew, "+
			"else it is waited for; so is the module. `hit`, `missed` and `lost` of `stats` begin anew, the other totals go on.",
		"datapath", "error", "create")
	evFeatures = define("features_set", zapcore.InfoLevel,
		"User features of the datapath: what was asked for, what the kernel kept, what was set before. With `rings`, unaligned is not asked for: "+
			"an upcall that exceeds its frame would be written over the next one.",
		"datapath", "asked", "kept", "before", "rings")
	evFlowsAdopted = define("flows_adopted", zapcore.InfoLevel,
		"Flows were found in the datapath and stay in force; those that the policy would not install are corrected within a revalidator cycle.",
		"datapath", "flows")
	evReady = define("ready", zapcore.InfoLevel,
		"Every configured port that exists is served.",
		"datapath", "policy", "handlers", "ports", "ports_waiting", "startup_ms")
	evReloaded = define("reloaded", zapcore.InfoLevel,
		"The configuration file was read again (SIGHUP) and is in force. `changed` lists the top-level keys that differ from before.",
		"config", "changed")
	evReloadFailed = define("reload_failed", zapcore.ErrorLevel,
		"The configuration file was read again and cannot be used: file, line and column are in the error. The one before stays in force, unchanged.",
		"config", "error")
	evReloadIgnored = define("reload_ignored", zapcore.WarnLevel,
		"These keys were changed in the file, but take a restart. They keep their values.",
		"config", "keys")
	evStopping = define("stopping", zapcore.InfoLevel,
		"A signal asked the daemon to stop. Upcalls are turned off, then what is queued is answered.",
		"datapath", "reason")
	evHandedOver = define("handed_over", zapcore.InfoLevel,
		"The daemon makes way for its successor (SIGUSR2) and leaves it the upcall sockets, so that upcalls queue meanwhile. `to` is "+
			"service_manager (its store of descriptors has them, and it starts the successor) or exec (the program is started in this process). "+
			"`not_handed_over` counts ports whose socket ends here, because it has a ring or is not in the store: their upcalls are turned off.",
		"datapath", "to", "sockets", "not_handed_over")
	evRestartFailed = define("restart_failed", zapcore.ErrorLevel,
		"The restart asked for (SIGUSR2) did not come about: the program or the configuration file cannot be used. The daemon goes on as before.",
		"error")
	evWatchdogWithheld = define("watchdog_withheld", zapcore.ErrorLevel,
		"The service manager's watchdog was not fed when it was time to, because the goroutines named in `late` (handlers, port poll, revalidator) "+
			"made no round since the last time, `late_ms` ago. If that goes on for `watchdog_ms` the manager kills and restarts the daemon. Said once for each time it is late.",
		"datapath", "late", "late_ms", "watchdog_ms")
	evLostWhileDown = define("lost_while_down", zapcore.WarnLevel,
		"The datapath counted lost upcalls between the last look of the daemon before and the start of this one: nobody listened, or sockets that were "+
			"handed over were full. Flows that were installed kept forwarding. Of the `missed` packets, those that are not `lost` were answered before the "+
			"former daemon ended, wait in the sockets handed over, or were queued on sockets that ended with it.",
		"datapath", "lost", "missed", "down_ms")
	evCheckpointFailed = define("checkpoint_failed", zapcore.WarnLevel,
		"Counters and MACs could not be left to the next daemon of this datapath, or taken over, in /run/dpifd: it will not know what was lost in between. Said once.",
		"datapath", "error")
	evSocketsAdopted = define("sockets_adopted", zapcore.InfoLevel,
		"Upcall sockets of the process before are served on, with what was queued on them. `closed` counts those that upcalls no longer go to; what was queued on them was answered.",
		"datapath", "adopted", "closed")
	evSocketRefused = define("socket_refused", zapcore.WarnLevel,
		"A descriptor that was passed to the daemon is not an upcall socket of this network namespace. It was closed.",
		"datapath", "name", "error")
	evSocketNotKept = define("socket_not_kept", zapcore.WarnLevel,
		"The service manager's store did not take a port's upcall socket: a restart loses upcalls of that port.",
		"datapath", "port", "port_no", "error")
	evFlowsFlushed = define("flows_flushed", zapcore.InfoLevel,
		"The flows were deleted at exit (on_exit: flush).",
		"datapath")
	evDatapathDeleted = define("datapath_deleted", zapcore.InfoLevel,
		"The datapath was deleted at exit (on_exit: delete).",
		"datapath")
	evExitFailed = define("exit_action_failed", zapcore.ErrorLevel,
		"What on_exit asks for could not be done.",
		"datapath", "on_exit", "error")
	evStopped = define("stopped", zapcore.InfoLevel,
		"The daemon has stopped; totals since start.",
		"datapath", "uptime_s", "upcalls", "executed", "flows_put", "lost")
	evFailed = define("failed", zapcore.ErrorLevel,
		"The daemon ends with an error.",
		"error")
)

// Ports.
var (
	evPortAdded = define("port_added", zapcore.InfoLevel,
		"A vport is served. `created`: dpifd attached it; else it was in the datapath. Under per-CPU dispatch `handler` is -1 and `upcall_pid` 0.",
		"datapath", "port", "port_no", "type", "handler", "upcall_pid", "created")
	evDispatch = define("dispatch_selected", zapcore.InfoLevel,
		"By what the kernel chooses the socket for an upcall, per-vport or per-cpu, and why. With per-cpu `upcall_pids` are the handlers' sockets, "+
			"which share the online `cpus`, and what a full queue loses is logged with port `handler N`.",
		"datapath", "dispatch", "reason", "cpus", "upcall_pids", "rcvbuf_bytes")
	evCPUsChanged = define("cpus_changed", zapcore.InfoLevel,
		"CPUs went off or came on. Under per-CPU dispatch the handlers share those that are online now.",
		"datapath", "cpus", "was", "handlers")
	evTransport = define("transport_selected", zapcore.InfoLevel,
		"How a port's upcalls are received, and why.",
		"datapath", "port", "port_no", "transport", "reason", "rcvbuf_bytes", "ring_bytes")
	evRingDenied = define("ring_denied", zapcore.WarnLevel,
		"A port is served without ring though the kernel has rings: `ring.memory_limit` is reached, or the kernel refused this ring. "+
			"Ports get rings in the order of the file, then as they come. This one gets a ring when it is attached anew and the limit has room.",
		"datapath", "port", "error", "ring_bytes", "used_bytes", "limit_bytes")
	evHandler = define("handler_started", zapcore.InfoLevel,
		"How a handler sends its requests, and why.",
		"datapath", "handler", "transport", "reason")
	evTXRingGivenUp = define("tx_ring_given_up", zapcore.WarnLevel,
		"The kernel does not send from a handler's TX ring. Requests go by ordinary calls for good; none was lost.",
		"datapath", "handler", "error")
	evPortRemoved = define("port_removed", zapcore.InfoLevel,
		"A vport has gone, or its number belongs to another device now. Counters since it was added.",
		"datapath", "port", "port_no", "upcalls", "executed", "lost")
	evPortRenamed = define("port_renamed", zapcore.InfoLevel,
		"A port's device has another name now. It is served as before; a configured port of the old name is waited for.",
		"datapath", "port", "port_no", "was")
	evPortWaiting = define("port_waiting", zapcore.WarnLevel,
		"A configured port cannot be attached now. It is tried again when its device appears or the datapath changes.",
		"datapath", "port", "error")
	evPortFailed = define("port_failed", zapcore.ErrorLevel,
		"A vport of the datapath cannot be served: its new flows are lost. It is tried again on the next change.",
		"datapath", "port", "port_no", "error")
	evPortSetupFailed = define("port_setup_failed", zapcore.ErrorLevel,
		"A configured internal port is served, but its device could not be given the address, MTU or state that the configuration asks for. It is tried again on the next change.",
		"datapath", "port", "error")
	evDeviceCreated = define("device_created", zapcore.InfoLevel,
		"A tunnel's network device was made. All tunnels of its kind and UDP port share it.",
		"datapath", "device", "kind")
	evDeviceRemoved = define("device_removed", zapcore.InfoLevel,
		"A network device that dpifd had made was removed: no tunnel port needs it any more, or the datapath was deleted at exit.",
		"datapath", "device", "kind")
	evDeviceSweepFailed = define("device_removal_failed", zapcore.ErrorLevel,
		"Network devices that dpifd had made, and that no port needs any more, could not be removed.",
		"datapath", "error")
	evPIDRestored = define("upcall_pid_restored", zapcore.WarnLevel,
		"Another program had changed where the kernel sends a vport's upcalls. Upcalls may have been lost to it.",
		"datapath", "port", "port_no", "found_pids", "upcall_pid")
	evFeaturesRestored = define("features_restored", zapcore.WarnLevel,
		"Another program had changed the datapath's user features (`ovs-dpctl show` does). Upcalls may have been lost meanwhile.",
		"datapath", "found", "kept")
	evNotifierOverflow = define("notifier_overflow", zapcore.WarnLevel,
		"Notifications of the kernel were lost; ports and features were listed anew. `source` is ovs or link.",
		"datapath", "source")
	evRequestOverflow = define("request_overflow", zapcore.WarnLevel,
		"Answers of the kernel to requests were lost, since the socket of `owner` had no room for them: requests may have been refused without being counted. "+
			"Packets are never sent twice; flows are compared with the kernel's by the next revalidator cycle. At most one a second for each owner.",
		"datapath", "owner", "overflows", "overflows_total")
)

// Flows.
var (
	evFlowLimitChanged = define("flow_limit_changed", zapcore.InfoLevel,
		"The number of flows allowed was adapted to the time that a dump of them takes: down when it takes over 1.3 s or 2 s, up while it takes less than 1 s "+
			"(with flows.max_dump other than 1s in proportion to that); or flows.limit was lowered below it (cause configured). Growth is said at most every 10 s.",
		"datapath", "from", "to", "cause")
	evFlowLimit = define("flow_limit_reached", zapcore.WarnLevel,
		"The datapath holds as many flows as are allowed: flows.limit, or less while dumps are slow or have not shown yet that they are fast. Packets are forwarded, each by way of an upcall, but no flow is added.",
		"datapath", "flows", "limit")
	evFlowLimitCleared = define("flow_limit_cleared", zapcore.InfoLevel,
		"The datapath is below the limit again.",
		"datapath", "flows", "limit")
	evMACsEvicted = define("macs_evicted", zapcore.WarnLevel,
		"The MAC table is full (policy.mac_limit): for each MAC that is learned one is forgotten, of the port that holds the most. "+
			"`port` is the one that lost MACs, `evicted` how many since the last such line of the port; at most one a second for each.",
		"datapath", "port", "port_no", "evicted", "evicted_total", "macs", "limit")
	evRevalidatorFailed = define("revalidator_failed", zapcore.ErrorLevel,
		"A revalidator cycle ended early. The next one tries again.",
		"datapath", "error", "after_ms")
	evStaticInstalled = define("static_flow_installed", zapcore.InfoLevel,
		"A flow of flows.static is in the datapath: for the first time, or again.",
		"datapath", "match", "actions", "ufid")
	evStaticRemoved = define("static_flow_removed", zapcore.InfoLevel,
		"A static flow was deleted: it is not configured any more, or one of its ports has gone.",
		"datapath", "match", "ufid")
	evStaticWaiting = define("static_flow_waiting", zapcore.WarnLevel,
		"A static flow names a port that the datapath does not have. It is installed when the port comes.",
		"datapath", "match", "port")
	evStaticRestored = define("static_flow_restored", zapcore.WarnLevel,
		"Another program had deleted or changed a static flow (`cause`: deleted, changed). It is installed again, or given its actions back.",
		"datapath", "match", "ufid", "cause")
	evStaticFailed = define("static_flow_failed", zapcore.ErrorLevel,
		"The kernel refuses a static flow. It is tried again in each revalidator cycle, and this is said again when the error changes.",
		"datapath", "match", "actions", "error")
	evStormControlOff = define("storm_control_off", zapcore.WarnLevel,
		"The kernel does not take the meters that ports[].storm asks for (it has none before Linux 4.18 that work). Floods are not limited.",
		"datapath", "meters", "error")
	evFlowChanged = define("flow_changed", zapcore.DebugLevel,
		"The revalidator deletes a flow or gives it other actions, and why.",
		"datapath", "op", "reason", "ufid", "packets", "idle_ms")
)

// Upcalls and loss.
var (
	evUpcall = define("upcall", zapcore.DebugLevel,
		"One upcall and what the policy decided. Key and actions are in the syntax of ovs-dpctl (docs/ODP.md), ports as numbers.",
		"datapath", "port", "port_no", "kind", "packet_bytes", "decision", "install", "key", "actions")
	evUpcallsLost = define("upcalls_lost", zapcore.WarnLevel,
		"Packets were lost on their way through the daemon since the last such line of the same port and cause; at most one a second for each. "+
			"Causes: socket_overflow (the port's receive queue was full), ring_full, decode_error, kernel_refused (the kernel refused to forward the packet, see `last_errno`), "+
			"policy_error, action_upcall (sent up by a flow of another program), shed (over the port's max_upcalls), "+
			"no_listener (counted by the datapath, but not by a port: nobody listened, the socket had gone, or the packet was too large to be sent up, over 65,531 bytes).",
		"datapath", "port", "port_no", "cause", "lost", "lost_total", "last_errno")
	evStats = define("stats", zapcore.InfoLevel,
		"Totals since start, and with `_delta` those of the interval. hit, missed, lost are the kernel's packet counts, "+
			"masks and flows what the datapath holds; cache_hit is 0 on kernels without a mask cache. epoll_waits, received_copy and received_linear over upcalls "+
			"tell what receiving costs in system calls. batch_us is the time from a batch's receipt until its answers were sent, in all; batch_max_us that of the longest batch of the interval.",
		"datapath", "uptime_s", "interval_ms", "goroutines", "ports",
		"hit", "hit_delta", "missed", "missed_delta", "lost", "lost_delta",
		"flows", "flows_static", "flow_limit", "masks", "mask_hit", "cache_hit",
		"upcalls", "upcalls_delta", "upcall_bytes", "upcall_bytes_delta",
		"executed", "executed_delta", "dropped", "dropped_delta",
		"flows_put", "flows_put_delta", "flows_existing", "flows_refused", "flows_over_limit",
		"flows_expired", "flows_deleted", "flows_corrected", "sweeps_refused", "revalidator_cycles", "revalidator_dump_ms",
		"action_upcalls", "execute_refused", "decode_errors", "receive_errors", "foreign", "policy_errors", "socket_drops", "shed",
		"received_linear", "received_ring", "received_copy", "received_bytes", "jumbo", "aborted", "truncated", "malformed",
		"overflows", "overruns", "ring_bytes", "sent_linear", "sent_ring", "request_overflows",
		"features_restored", "upcall_pids_restored", "notifier_overflows",
		"epoll_waits", "batches", "batch_us", "batch_max_us", "send_errors",
		"macs", "macs_learned", "macs_moved", "macs_expired", "macs_evicted")
	evPortStats = define("port_stats", zapcore.DebugLevel,
		"One port's counters since it was added, with each `stats` line. `lost` is the sum of all causes. rx and tx are the kernel's, as are upcall_success and upcall_fail: "+
			"packets that it queued for the port's socket and that it could not queue, 0 before Linux 6.2.",
		"datapath", "port", "port_no", "handler", "upcalls", "executed", "dropped", "lost",
		"socket_drops", "shed", "decode_errors", "execute_refused", "upcall_success", "upcall_fail",
		"rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_dropped", "tx_dropped")
	evStatsFailed = define("stats_failed", zapcore.ErrorLevel,
		"The kernel did not answer the request for statistics.",
		"datapath", "error")
)

// The control socket.
var (
	evControlListening = define("control_listening", zapcore.InfoLevel,
		"Commands reach the daemon by this socket. `group_error` says why the group could not be given it, so that only the owner and the process's own group may connect; else it is empty.",
		"socket", "group", "group_error")
	evControlUnavailable = define("control_unavailable", zapcore.WarnLevel,
		"The control socket could not be opened. The daemon does its work without it.",
		"socket", "error")
	evControlConnected = define("control_connected", zapcore.InfoLevel,
		"A process connected to the control socket. At most one a second, after ten at once; `held_back` is how many were not said before this one.",
		"pid", "uid", "gid", "held_back")
	evControlError = define("control_error", zapcore.WarnLevel,
		"The control socket could not serve a client. As often as control_connected.",
		"error", "held_back")
	evLogLevel = define("log_level_changed", zapcore.InfoLevel,
		"A client of the control socket changed the level of the log, until the next reload, change or start.",
		"from", "to", "pid", "uid")
)

// State, when SIGUSR1 asks for it.
var (
	evStateDaemon = define("state_daemon", zapcore.InfoLevel,
		"SIGUSR1 asked for the state: this of the daemon, then a state_port for each port and a state_config. `served` is false while there is no datapath, and then the counts are 0.",
		"datapath", "pid", "uptime_s", "served", "log_level", "policy", "features", "handlers", "goroutines", "ports",
		"flows", "flow_limit", "masks", "macs", "mac_limit", "ring_bytes", "limit_bytes")
	evStatePort = define("state_port", zapcore.InfoLevel,
		"SIGUSR1 asked for the state: one port and its upcall socket. Under per-CPU dispatch ports have no socket, and those of handlers come last, as ports `handler N` of type none.",
		"datapath", "port", "port_no", "type", "handler", "upcall_pid", "transport", "reason", "rcvbuf_bytes", "queued_bytes", "ring_bytes", "max_upcalls", "macs")
	evStateConfig = define("state_config", zapcore.InfoLevel,
		"SIGUSR1 asked for the state: the configuration in force, each key of it, as a file would say it.",
		"datapath", "config", "set", "yaml")
)
