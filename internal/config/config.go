package config

import (
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/mmapring"
	"dpifd/internal/odp"
)

// Config is one configuration file: every key of it, each at the value that
// is in force. The struct is the schema too: tag yaml names the key, min and
// max bound the value as the file would write it, unit marks a number of
// bytes or a rate, zero says that 0 is taken though it is below min, and optional that a
// key which is not set has no value at all: the zero value stands for that.
type Config struct {
	Datapath Datapath `yaml:"datapath"`
	// Netns is the network namespace to work in: a name below /run/netns, an
	// absolute path, or empty for the one the process is in.
	Netns string `yaml:"netns"`
	// WaitForModule makes the start wait for the openvswitch module instead
	// of failing without it.
	WaitForModule bool `yaml:"wait_for_module"`
	// Dispatch says by what the kernel chooses the socket for an upcall.
	Dispatch dpif.Dispatch `yaml:"dispatch"`
	// Handlers is the number of upcall handlers; 0 is one per CPU.
	Handlers int    `yaml:"handlers" min:"0" max:"1024"`
	Ring     Ring   `yaml:"ring"`
	Socket   Socket `yaml:"socket"`
	// Ports are the vports to see to. If there are none, those that the
	// datapath has are served.
	Ports []Port `yaml:"ports"`
	// PortsUnlisted says what becomes of vports that are not in Ports; see DropsUnlisted.
	PortsUnlisted Unlisted `yaml:"ports_unlisted"`
	Policy        Policy   `yaml:"policy"`
	Flows         Flows    `yaml:"flows"`
	Log           Log      `yaml:"log"`
	// Control is how commands reach the running daemon.
	Control Control `yaml:"control"`
}

// Datapath says which datapath is served and what becomes of it.
type Datapath struct {
	// Name is the datapath's name, which is also its local port's device.
	Name string `yaml:"name"`
	// Create allows the datapath to be created where it is missing.
	Create bool   `yaml:"create"`
	OnExit OnExit `yaml:"on_exit"`
}

// Ring is the memory-mapped receive ring of an upcall socket.
type Ring struct {
	Mode mmapring.Mode `yaml:"mode"`
	// TX says whether request sockets have a ring too.
	TX RingTX `yaml:"tx"`
	// FrameSize and BlockSize are bytes, Blocks is a number of blocks. They
	// satisfy the kernel's rules for a ring.
	FrameSize uint32 `yaml:"frame_size" unit:"bytes" min:"24B" max:"1GiB"`
	BlockSize uint32 `yaml:"block_size" unit:"bytes" min:"4KiB" max:"1GiB"`
	Blocks    uint32 `yaml:"blocks" min:"1" max:"1048576"`
	// MemoryLimit bounds the rings of all sockets together, in bytes. Where the file
	// sets it, it is no smaller than one ring. Else it is at most an eighth of the
	// memory.
	MemoryLimit uint64 `yaml:"memory_limit" unit:"bytes" min:"4KiB" max:"16GiB"`
}

// Geometry is the shape of each ring.
func (r *Ring) Geometry() mmapring.Geometry {
	return mmapring.Geometry{FrameSize: r.FrameSize, BlockSize: r.BlockSize, Blocks: r.Blocks}
}

// Socket is what every upcall socket has, with a ring or without.
type Socket struct {
	// Rcvbuf is the receive buffer to ask for, in bytes as SO_RCVBUF takes
	// them: the kernel doubles the value, and overflows above max on 4.x.
	Rcvbuf uint32 `yaml:"rcvbuf" unit:"bytes" min:"64KiB" max:"512MiB"`
}

// Port is a port of the switch: a vport of the datapath, or a tunnel to one
// peer, of which several share a vport.
type Port struct {
	// An entry has a Name, or a Match: the pattern of path.Match for the names of
	// devices that no entry names. The first pattern that matches counts, see Config.Port.
	Name  string             `yaml:"name" optional:"true"`
	Match string             `yaml:"match" optional:"true"`
	Type  PortType           `yaml:"type"`
	VLAN  forward.VLANConfig `yaml:"vlan" optional:"true"`
	// Isolated ports of the same Group send nothing to each other.
	Isolated bool   `yaml:"isolated"`
	Group    string `yaml:"group" optional:"true"`
	// Hairpin allows a frame to leave by the port it came in on.
	Hairpin bool `yaml:"hairpin"`
	// MACLimit is how many MACs the port may have; 0 is no limit of its own.
	MACLimit int `yaml:"mac_limit" min:"1" max:"1000000" zero:"none"`
	// Storm limits what the port may have sent to many.
	Storm forward.StormConfig `yaml:"storm" optional:"true"`
	// MaxUpcalls is how many upcalls of the port are served a second at most,
	// the others are shed; 0 is no limit.
	MaxUpcalls uint32 `yaml:"max_upcalls" unit:"rate" min:"1/s" max:"10000000/s" zero:"none"`
	// Address, Up and MTU are an internal port's. Each address has the length
	// of its network's prefix. What is not set is left as it is.
	Address []Prefix `yaml:"address" optional:"true"`
	Up      bool     `yaml:"up" optional:"true"`
	MTU     uint32   `yaml:"mtu" min:"68" max:"65535" optional:"true"`
	// MAC is an internal port's. Without it a port that is made gets one that depends on
	// machine, datapath and name, so that it is the same each time.
	MAC odp.MAC `yaml:"mac" optional:"true"`
	// Tunnel is a tunnel's.
	Tunnel Tunnel `yaml:"tunnel" optional:"true"`
	// MirrorTo names the port that gets a copy of what this one takes and
	// sends, and nothing else.
	MirrorTo string `yaml:"mirror_to" optional:"true"`
	// Allow is what the port may send as; what it leaves out is not restricted.
	Allow Allow `yaml:"allow" optional:"true"`
	// DHCPServer and RouterAdvertisements say whether the port may send what only
	// such servers and routers do.
	DHCPServer           bool `yaml:"dhcp_server"`
	RouterAdvertisements bool `yaml:"router_advertisements"`
}

// Tunnel is where a tunnel port leads and how its packets are wrapped.
type Tunnel struct {
	// Remote and Local are the addresses of the peer and of this side. An
	// unset Local is any.
	Remote Addr `yaml:"remote" optional:"true"`
	Local  Addr `yaml:"local" optional:"true"`
	// Key is the network identifier (VNI) of VXLAN and Geneve, and the key
	// of GRE, where 0 is none.
	Key uint32 `yaml:"key" min:"0" max:"4294967295"`
	// DstPort is the UDP port of VXLAN and Geneve; see Port.DstPort.
	DstPort uint32 `yaml:"dst_port" min:"1" max:"65535" optional:"true"`
	// TTL is 64 where it is not set.
	TTL uint32 `yaml:"ttl" min:"1" max:"255" optional:"true"`
	TOS TOS    `yaml:"tos" optional:"true"`
	// CSum gives packets a checksum that is optional: UDP's over IPv4, GRE's.
	CSum bool `yaml:"csum"`
}

// Policy decides what becomes of a packet.
type Policy struct {
	Type PolicyType `yaml:"type"`
	// MACAging and MACLimit are the learning policy's: how long a MAC that
	// is not seen is remembered, and how many are.
	MACAging time.Duration `yaml:"mac_aging" min:"1s" max:"24h"`
	MACLimit int           `yaml:"mac_limit" min:"1" max:"1000000"`
	// SharedLearning has all VLANs share what is learned.
	SharedLearning bool `yaml:"shared_learning"`
	// ForwardBPDU has reserved multicast forwarded.
	ForwardBPDU bool `yaml:"forward_bpdu"`
	// StaticMACs are known without being learned.
	StaticMACs []forward.StaticMAC `yaml:"static_macs"`
}

// Flows bounds what the flow table of the kernel holds.
type Flows struct {
	// MaxIdle is how long a flow may go without a packet.
	MaxIdle time.Duration `yaml:"max_idle" min:"100ms" max:"24h"`
	// Limit is the greatest number of flows.
	Limit int `yaml:"limit" min:"1" max:"10000000"`
	// MaxDump is how long a look at all flows may take. When it takes longer, fewer
	// flows than Limit are allowed.
	MaxDump time.Duration `yaml:"max_dump" min:"100ms" max:"1m"`
	// Prime has the flow of a packet's answers put together with its own.
	Prime bool `yaml:"prime"`
	// Static are flows that are there whatever the traffic.
	Static []forward.StaticFlow `yaml:"static"`
}

// Log is what the log shows and how.
type Log struct {
	Level  Level     `yaml:"level"`
	Format LogFormat `yaml:"format"`
	// StatsInterval is the time from one stats event to the next; 0 is none.
	StatsInterval time.Duration `yaml:"stats_interval" min:"100ms" max:"24h" zero:"off"`
	// UpcallRate is how many upcalls a second are logged at level debug, 0 all of them.
	UpcallRate uint32 `yaml:"upcall_rate" unit:"rate" min:"1/s" max:"1000000/s" zero:"all"`
}

// Control is the socket on which commands reach the daemon.
type Control struct {
	// Socket is a path, ControlAuto for one that the datapath's name tells,
	// or ControlOff or empty for none.
	Socket string `yaml:"socket"`
	// Group is the group, by name or number, that may connect besides the
	// owner; empty is the process's own.
	Group string `yaml:"group"`
	// Mode is the socket's file mode.
	Mode uint32 `yaml:"mode" unit:"mode" min:"0600" max:"0666"`
	// PProf serves the profiles of net/http/pprof too.
	PProf bool `yaml:"pprof"`
}

// Values of Control.Socket that are no paths.
const (
	ControlAuto = "auto"
	ControlOff  = "off"
)

// OnExit says what a stopping daemon does with the datapath.
type OnExit string

// OnExitKeep leaves datapath and flows, OnExitFlush removes the flows,
// OnExitDelete removes the datapath.
const (
	OnExitKeep   OnExit = "keep"
	OnExitFlush  OnExit = "flush"
	OnExitDelete OnExit = "delete"
)

// RingTX says whether request sockets have TX rings.
type RingTX string

// TXOff sends requests by sendmsg, TXAuto by TX rings where Mode asks for rings and the
// kernel has them.
const (
	TXOff  RingTX = "off"
	TXAuto RingTX = "auto"
)

// PortType is the kind of a vport.
type PortType string

// PortNetdev is a network device that exists, PortInternal a device that the
// datapath makes; the others are tunnels.
const (
	PortNetdev   PortType = "netdev"
	PortInternal PortType = "internal"
	PortVXLAN    PortType = "vxlan"
	PortGeneve   PortType = "geneve"
	PortGRE      PortType = "gre"
)

// IsTunnel reports whether ports of the type are tunnels.
func (t PortType) IsTunnel() bool { return t == PortVXLAN || t == PortGeneve || t == PortGRE }

// PolicyType names a forwarding policy, see forward.Policies.
type PolicyType string

// PolicyLearning is the default. The others are those that package forward knows.
const PolicyLearning PolicyType = "learning"

// Level is the least severity that is logged.
type Level string

// The levels, from most to least verbose.
const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// Levels returns the names of the levels, from most to least verbose. The
// caller owns them.
func Levels() []string { return Level("").Values() }

// LogFormat is the encoding of the log.
type LogFormat string

// FormatJSON is one JSON object a line, FormatConsole is for eyes.
const (
	FormatJSON    LogFormat = "json"
	FormatConsole LogFormat = "console"
)

// LogFormats returns the names of the formats. The caller owns them.
func LogFormats() []string { return LogFormat("").Values() }

// enum is a string type of which only some values are good.
type enum interface{ Values() []string }

func strs[T ~string](vs ...T) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = string(v)
	}
	return out
}

func (OnExit) Values() []string { return strs(OnExitKeep, OnExitFlush, OnExitDelete) }

func (RingTX) Values() []string { return strs(TXOff, TXAuto) }

func (PortType) Values() []string {
	return strs(PortNetdev, PortInternal, PortVXLAN, PortGeneve, PortGRE)
}

func (PolicyType) Values() []string { return forward.Policies() }

func (Level) Values() []string { return strs(LevelDebug, LevelInfo, LevelWarn, LevelError) }

func (LogFormat) Values() []string { return strs(FormatJSON, FormatConsole) }

// Default returns the configuration of a file that sets nothing. The caller
// owns it.
func Default() *Config {
	return &Config{
		Datapath: Datapath{Name: "dp0", Create: true, OnExit: OnExitKeep},
		Dispatch: dpif.DispatchPerVport,
		Ring: Ring{
			Mode:        mmapring.ModeAuto,
			TX:          TXOff,
			FrameSize:   2560,
			BlockSize:   64 << 10,
			Blocks:      256,
			MemoryLimit: defaultRingLimit,
		},
		Socket:        Socket{Rcvbuf: 8 << 20},
		Ports:         []Port{},
		PortsUnlisted: UnlistedAuto,
		Policy: Policy{Type: PolicyLearning, MACAging: 300 * time.Second, MACLimit: 8192,
			StaticMACs: []forward.StaticMAC{}},
		Flows: Flows{MaxIdle: 10 * time.Second, Limit: 200_000, MaxDump: time.Second, Prime: true,
			Static: []forward.StaticFlow{}},
		Log:     Log{Level: LevelInfo, Format: FormatJSON, StatsInterval: 10 * time.Second},
		Control: Control{Socket: ControlAuto, Group: "dpifd", Mode: 0o660},
	}
}

// Clone returns a copy that shares no memory with c.
func (c *Config) Clone() *Config {
	d := *c
	d.Ports = slices.Clone(c.Ports)
	d.Flows.Static = slices.Clone(c.Flows.Static)
	d.Policy.StaticMACs = slices.Clone(c.Policy.StaticMACs)
	for i := range d.Ports {
		d.Ports[i].VLAN.Trunk = slices.Clone(d.Ports[i].VLAN.Trunk)
		d.Ports[i].Address = slices.Clone(d.Ports[i].Address)
		d.Ports[i].Allow = d.Ports[i].Allow.clone()
	}
	return &d
}

// defaultPort is what an entry of ports has where it sets nothing.
func defaultPort() Port {
	return Port{Type: PortNetdev, DHCPServer: true, RouterAdvertisements: true}
}
