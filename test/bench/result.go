package bench

import (
	"encoding/json"
	"fmt"
	"os"
)

// Switches that are compared, in the order of their measurement in a round.
const (
	Floor    = "floor"
	Dpifd    = "dpifd"
	Vswitchd = "ovs-vswitchd"
)

// The floor without some of its work, so that differences are the cost of a part: FloorReceive
// drops upcalls, FloorExecute also forwards the packets, Floor also puts flows. FloorReceive
// forwards nothing, so no frame of a load arrives.
const (
	FloorReceive = "floor-receive"
	FloorExecute = "floor-execute"
)

// Switches lists the compared switches.
var Switches = []string{Floor, Dpifd, Vswitchd}

// Load is one kind of traffic. Each frame comes from a new station, so that each needs a flow of
// its own.
type Load struct {
	Name  string
	About string
	Count int // number of measured frames
	Rate  int // frames per second over all ports; 0 for as fast as possible
	Size  int // frame size in bytes, without FCS
	Ports int // ports of the datapath; the last one only receives
	// Unknown sends frames to an unknown station instead of the one behind the last port. All
	// switches flood them, including the floor.
	Unknown bool
	// Flood is the time in milliseconds for which the first port sends as fast as possible, while
	// Count frames are sent from the second port.
	Flood int
	// Transactions is a number of TCP connections, one after the other: connect, request, response,
	// close. Only the field Ports applies as well.
	Transactions int
	// Conversations is a number of conversations between new pairs of stations, one after the
	// other: ARP request, ARP reply, UDP request, response. Only the field Ports applies as well.
	Conversations int
}

// Frames reports whether the load consists of frames in one direction.
func (l *Load) Frames() bool { return l.Transactions == 0 && l.Conversations == 0 }

// Loads are the loads of a whole run.
var Loads = []Load{
	{Name: "2k", About: "2,000 new flows/s, 200-byte frames, 2 ports", Count: 6_000, Rate: 2_000, Size: 200, Ports: 2},
	{Name: "5k", About: "5,000 new flows/s, 200-byte frames, 2 ports", Count: 10_000, Rate: 5_000, Size: 200, Ports: 2},
	{Name: "10k", About: "10,000 new flows/s, 200-byte frames, 2 ports", Count: 10_000, Rate: 10_000, Size: 200, Ports: 2},
	{Name: "burst", About: "10,000 new flows at once, 200-byte frames, 2 ports", Count: 10_000, Size: 200, Ports: 2},
	{Name: "burst-1450", About: "10,000 new flows at once, 1,450-byte frames, 2 ports", Count: 10_000,
		Size: 1450, Ports: 2},
	{Name: "5k-64", About: "5,000 new flows/s, frames of 64 bytes with FCS, 2 ports", Count: 10_000, Rate: 5_000,
		Size: 60, Ports: 2},
	{Name: "5k-1500", About: "5,000 new flows/s, 1,500-byte frames, 2 ports", Count: 10_000, Rate: 5_000,
		Size: 1500, Ports: 2},
	{Name: "5k-9000", About: "5,000 new flows/s, 9,000-byte frames, 2 ports", Count: 3_000, Rate: 5_000,
		Size: 9000, Ports: 2},
	{Name: "5k-16port", About: "5,000 new flows/s from 15 ports to one, 200-byte frames", Count: 10_000, Rate: 5_000,
		Size: 200, Ports: 16},
	{Name: "5k-128port", About: "5,000 new flows/s from 127 ports to one, 200-byte frames", Count: 10_000, Rate: 5_000,
		Size: 200, Ports: 128},
	{Name: "unknown", About: "1,000 new flows/s to a station nobody knows, 200-byte frames, 16 ports", Count: 3_000,
		Rate: 1_000, Size: 200, Ports: 16, Unknown: true},
	{Name: "quiet", About: "10 new flows/s from a quiet port, while another one floods for 3 s", Count: 30, Rate: 10,
		Size: 200, Ports: 3, Flood: 3_000},
	{Name: "quiet-20", About: "20 new flows/s from a quiet port, while another one floods for 3 s", Count: 60, Rate: 20,
		Size: 200, Ports: 3, Flood: 3_000},
	{Name: "idle-20", About: "20 new flows/s and nothing else, 2 ports", Count: 60, Rate: 20, Size: 200, Ports: 2},
	{Name: "tcp", About: "300 TCP connections: connect, request, response, close; 2 ports", Transactions: 300, Ports: 2},
	{Name: "talk", About: "1,000 pairs of stations begin to talk: ARP request, reply, UDP request, response; 2 ports",
		Conversations: 1000, Ports: 2},
}

// Result is one measurement: one switch under one load in one round.
type Result struct {
	Load   string
	Switch string
	Round  int

	Sent, Arrived int    // measured frames, or TCP transactions
	Missed, Lost  uint64 // of the datapath: upcalls, and dropped upcalls
	// Seconds is the time from sending the first frame to the arrival of the last.
	Seconds float64
	// User and System are CPU times of the switch's process in seconds.
	User, System float64
	// P50, P99 and Max are latencies of the frames that arrived, in milliseconds; 0 if none did.
	P50, P99, Max float64
	RSSKiB        int // resident memory of the switch's process after the load
}

// Answered is the number of upcalls that reached the switch.
func (r *Result) Answered() float64 { return float64(r.Missed) - float64(r.Lost) }

// CPUPerUpcall returns CPU time per upcall in microseconds, only that in user mode if user is set.
func (r *Result) CPUPerUpcall(user bool) float64 {
	cpu := r.User
	if !user {
		cpu += r.System
	}
	return cpu * 1e6 / r.Answered()
}

// UpcallsEach returns the number of upcalls per frame or conversation.
func (r *Result) UpcallsEach() float64 { return r.Answered() / float64(r.Sent) }

// Throughput returns arrivals per second.
func (r *Result) Throughput() float64 { return float64(r.Arrived) / r.Seconds }

// Percentile returns the p-th percentile of values in ascending order by the nearest-rank method, 0
// if there are none.
func Percentile[T ~int64 | ~float64](sorted []T, p int) T {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return sorted[max(1, (p*n+99)/100)-1]
}

// Run is the result of a run.
type Run struct {
	Kernel  string // of the guest
	CPUs    int    // of the guest
	OVS     string // version line of ovs-vswitchd
	Results []Result
}

// ReadRun reads a file that Write wrote.
func ReadRun(file string) (*Run, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Run
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}

// Write writes the run as JSON.
func (r *Run) Write(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
