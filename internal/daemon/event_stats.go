package daemon

import "dpifd/internal/event"

// evStats and evPortStats have a value for each of statsFields and portStatsFields.
type (
	evStats struct {
		event.OfDatapath
		values []any
	}
	evPortStats struct {
		event.OfDatapath
		values []any
	}
)

func (evStats) List() []event.Field     { return statsFields }
func (e evStats) Values() []any         { return e.values }
func (evPortStats) List() []event.Field { return portStatsFields }
func (e evPortStats) Values() []any     { return e.values }

var _ = event.Declare[evStats](event.Kind{Name: "stats", Level: event.Info,
	Meaning: "Totals since start, and with `_delta` those of the interval. hit, missed, lost are the kernel's packet counts, masks and flows what the datapath holds; cache_hit is 0 on kernels without a mask cache. epoll_waits, received_copy and received_linear over upcalls tell what receiving costs in system calls. batch_us is the time from a batch's receipt until its answers were sent, in all; batch_max_us that of the longest batch of the interval.",
})

var _ = event.Declare[evPortStats](event.Kind{Name: "port_stats", Level: event.Debug,
	Meaning: "One port's counters since it was added, with each `stats` line. `lost` is the sum of all causes. rx and tx are the kernel's, as are upcall_success and upcall_fail: packets that it queued for the port's socket and that it could not queue, 0 before Linux 6.2.",
})

var statsFields = []event.Field{
	{Name: "uptime_s", Meaning: "since the daemon started"},
	{Name: "interval_ms", Meaning: "since the stats line before"},
	{Name: "goroutines", Meaning: "goroutines now"},
	{Name: "ports", Meaning: "ports served"},
	{Name: "hit", Meaning: "packets that a flow took"},
	{Name: "hit_delta"},
	{Name: "missed", Meaning: "packets that no flow took"},
	{Name: "missed_delta"},
	{Name: "lost", Meaning: "packets that did not go on; of stats and datapath_opened: misses that the kernel could not hand over"},
	{Name: "lost_delta"},
	{Name: "flows", Meaning: "flows in the datapath"},
	{Name: "flows_static", Meaning: "of these, flows that the configuration asks for"},
	{Name: "flow_limit", Meaning: "flows allowed now"},
	{Name: "masks", Meaning: "masks of the flow table"},
	{Name: "mask_hit", Meaning: "masks looked at"},
	{Name: "cache_hit", Meaning: "look-ups that the mask cache answered"},
	{Name: "upcalls", Meaning: "upcalls received"},
	{Name: "upcalls_delta"},
	{Name: "upcall_bytes", Meaning: "bytes of their packets"},
	{Name: "upcall_bytes_delta"},
	{Name: "executed", Meaning: "packets handed back to the kernel to be sent"},
	{Name: "executed_delta"},
	{Name: "dropped", Meaning: "packets that the policy dropped"},
	{Name: "dropped_delta"},
	{Name: "flows_put", Meaning: "flows asked for"},
	{Name: "flows_put_delta"},
	{Name: "flows_existing", Meaning: "of these, there already"},
	{Name: "flows_refused", Meaning: "of these, refused by the kernel"},
	{Name: "flows_over_limit", Meaning: "flows not asked for, the table being full"},
	{Name: "flows_expired", Meaning: "flows deleted as idle"},
	{Name: "flows_deleted", Meaning: "flows deleted for another reason"},
	{Name: "flows_corrected", Meaning: "flows given other actions"},
	{Name: "sweeps_refused", Meaning: "deletions and corrections that the kernel refused"},
	{Name: "revalidator_cycles", Meaning: "cycles of the revalidator"},
	{Name: "revalidator_dump_ms", Meaning: "that the last dump of the flows took"},
	{Name: "action_upcalls", Meaning: "upcalls sent by a flow's userspace action: lost"},
	{Name: "execute_refused", Meaning: "packets that the kernel refused to send: lost"},
	{Name: "decode_errors", Meaning: "messages that were no upcalls: lost"},
	{Name: "receive_errors", Meaning: "receive calls that failed, overflows left out"},
	{Name: "foreign", Meaning: "messages from other processes or datapaths, ignored"},
	{Name: "policy_errors", Meaning: "packets whose answer did not fit into a message: lost"},
	{Name: "socket_drops", Meaning: "upcalls that sockets had no room for: lost"},
	{Name: "shed", Meaning: "upcalls over the port's max_upcalls: lost"},
	{Name: "received_linear", Meaning: "upcalls received by ordinary calls"},
	{Name: "received_ring", Meaning: "upcalls received in ring frames"},
	{Name: "received_copy", Meaning: "upcalls too large for their frame"},
	{Name: "received_bytes", Meaning: "bytes received"},
	{Name: "jumbo", Meaning: "messages larger than a receive buffer's first size"},
	{Name: "aborted", Meaning: "ring frames given up by the kernel"},
	{Name: "truncated", Meaning: "messages cut by the kernel: lost"},
	{Name: "malformed", Meaning: "messages and frames that are none: lost"},
	{Name: "overflows", Meaning: "times that a socket reported an overflow"},
	{Name: "overruns", Meaning: "times that a ring was full"},
	{Name: "ring_bytes", Meaning: "memory of rings"},
	{Name: "sent_linear", Meaning: "requests sent by ordinary calls"},
	{Name: "sent_ring", Meaning: "requests sent in ring frames"},
	{Name: "request_overflows", Meaning: "overflows of request sockets"},
	{Name: "features_restored", Meaning: "times that user features were set anew"},
	{Name: "upcall_pids_restored", Meaning: "times that upcall PIDs were set anew"},
	{Name: "notifier_overflows", Meaning: "times that notifications were lost"},
	{Name: "epoll_waits", Meaning: "calls of epoll_wait"},
	{Name: "batches", Meaning: "batches of upcalls answered"},
	{Name: "batch_us", Meaning: "from the receipt of batches until their answers were sent, in all; microseconds"},
	{Name: "batch_max_us", Meaning: "the longest of these in the interval; microseconds"},
	{Name: "send_errors", Meaning: "batches that could not be sent whole"},
	{Name: "macs", Meaning: "MACs known"},
	{Name: "macs_learned", Meaning: "MACs that were unknown"},
	{Name: "macs_moved", Meaning: "MACs that changed their port"},
	{Name: "macs_expired", Meaning: "MACs forgotten as too old"},
	{Name: "macs_evicted", Meaning: "MACs forgotten to make room"},
	{Name: "log_dropped", Meaning: "lines of the log that were dropped because its reader stalled"},
}

var portStatsFields = []event.Field{
	{Name: "port"},
	{Name: "port_no"},
	{Name: "handler", Meaning: "number of the handler, from 0; -1 for a port whose upcalls all handlers take"},
	{Name: "upcalls", Meaning: "upcalls received"},
	{Name: "executed", Meaning: "packets handed back to the kernel to be sent"},
	{Name: "dropped", Meaning: "packets that the policy dropped"},
	{Name: "lost", Meaning: "packets that did not go on; of stats and datapath_opened: misses that the kernel could not hand over"},
	{Name: "socket_drops", Meaning: "upcalls that sockets had no room for: lost"},
	{Name: "shed", Meaning: "upcalls over the port's max_upcalls: lost"},
	{Name: "decode_errors", Meaning: "messages that were no upcalls: lost"},
	{Name: "execute_refused", Meaning: "packets that the kernel refused to send: lost"},
	{Name: "upcall_success", Meaning: "upcalls that the kernel queued; 0 on kernels that do not count"},
	{Name: "upcall_fail", Meaning: "upcalls that the kernel could not queue; 0 on kernels that do not count"},
	{Name: "rx_packets", Meaning: "packets that came in by the port"},
	{Name: "tx_packets", Meaning: "packets that went out"},
	{Name: "rx_bytes", Meaning: "bytes of these"},
	{Name: "tx_bytes", Meaning: "bytes of these"},
	{Name: "rx_dropped", Meaning: "packets dropped on the way in"},
	{Name: "tx_dropped", Meaning: "packets dropped on the way out"},
}
