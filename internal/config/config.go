package config

import (
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/mmapring"
	"dpifd/internal/odp"
	"dpifd/internal/snoop"
)

// Config is a configuration with all keys. The struct is also the schema: the tag yaml names
// the key, min and max limit the value in the syntax of the file, unit marks a number of bytes
// or a rate, zero means that 0 is allowed although it is below min, and optional means that a
// key may have no value, represented by the zero value.
type Config struct {
	Datapath Datapath `yaml:"datapath"`
	// Netns is the network namespace of the datapath: a name below /run/netns, an absolute
	// path, or empty for the namespace of the process.
	Netns string `yaml:"netns"`
	// WaitForModule makes dpifd wait for the openvswitch module at start instead of exiting
	// without it.
	WaitForModule bool `yaml:"wait_for_module"`
	// Dispatch is how the kernel picks the socket of an upcall.
	Dispatch dpif.Dispatch `yaml:"dispatch"`
	// Handlers is the number of upcall handlers; 0 is one per CPU.
	Handlers int    `yaml:"handlers" min:"0" max:"1024"`
	Ring     Ring   `yaml:"ring"`
	Socket   Socket `yaml:"socket"`
	// Ports are the ports to serve. If the list is empty, the vports of the datapath are
	// served.
	Ports []Port `yaml:"ports"`
	// PortsUnlisted says how to treat vports that are not in Ports; see DropsUnlisted.
	PortsUnlisted Unlisted `yaml:"ports_unlisted"`
	// LoopGuard is the default of Port.LoopGuard.
	LoopGuard LoopGuard `yaml:"loop_guard"`
	Policy    Policy    `yaml:"policy"`
	Flows     Flows     `yaml:"flows"`
	Log       Log       `yaml:"log"`
	// Control configures the control socket.
	Control Control `yaml:"control"`
}

// Datapath is the datapath to serve.
type Datapath struct {
	// Name is the name of the datapath and of its local port's device.
	Name string `yaml:"name"`
	// Create allows dpifd to create the datapath if it does not exist.
	Create bool   `yaml:"create"`
	OnExit OnExit `yaml:"on_exit"`
}

// Ring is the memory-mapped receive ring of an upcall socket.
type Ring struct {
	Mode mmapring.Mode `yaml:"mode"`
	// TX is whether request sockets have a ring too.
	TX RingTX `yaml:"tx"`
	// FrameSize and BlockSize are bytes, Blocks is a number of blocks. They
	// satisfy the kernel's rules for a ring.
	FrameSize uint32 `yaml:"frame_size" unit:"bytes" min:"24B" max:"1GiB"`
	BlockSize uint32 `yaml:"block_size" unit:"bytes" min:"4KiB" max:"1GiB"`
	Blocks    uint32 `yaml:"blocks" min:"1" max:"1048576"`
	// MemoryLimit limits the rings of all sockets together, in bytes. If the file sets it, it
	// is at least one ring. Otherwise it is at most an eighth of the memory.
	MemoryLimit uint64 `yaml:"memory_limit" unit:"bytes" min:"4KiB" max:"16GiB"`
}

// Geometry is the shape of each ring.
func (r *Ring) Geometry() mmapring.Geometry {
	return mmapring.Geometry{FrameSize: r.FrameSize, BlockSize: r.BlockSize, Blocks: r.Blocks}
}

// Socket configures upcall sockets, with or without a ring.
type Socket struct {
	// Rcvbuf is the value of SO_RCVBUF in bytes. The kernel doubles it; above max the product
	// overflows on 4.x.
	Rcvbuf uint32 `yaml:"rcvbuf" unit:"bytes" min:"64KiB" max:"512MiB"`
}

// Port is a port of the switch: a vport of the datapath, or a tunnel to one peer; several tunnels
// may share a vport.
type Port struct {
	// An entry has a Name, or a Match: the pattern of path.Match for the names of devices that no
	// entry names. The first matching pattern applies, see Config.Port.
	Name  string             `yaml:"name" optional:"true"`
	Match string             `yaml:"match" optional:"true"`
	Type  PortType           `yaml:"type"`
	VLAN  forward.VLANConfig `yaml:"vlan" optional:"true"`
	// Isolated ports of the same Group do not send to each other.
	Isolated bool   `yaml:"isolated"`
	Group    string `yaml:"group" optional:"true"`
	// Hairpin allows a frame to leave through its in-port.
	Hairpin bool `yaml:"hairpin"`
	// MACLimit is the maximum number of MACs of the port; 0 is no limit.
	MACLimit int `yaml:"mac_limit" min:"1" max:"1000000" zero:"none"`
	// Storm limits flooded packets from the port.
	Storm forward.StormConfig `yaml:"storm" optional:"true"`
	// MaxUpcalls is the maximum upcalls per second of the port, the others are shed; 0 is no
	// limit.
	MaxUpcalls uint32 `yaml:"max_upcalls" unit:"rate" min:"1/s" max:"10000000/s" zero:"none"`
	// Address, Up and MTU are for internal ports. An address includes the prefix length of its
	// network. Unset values are not changed.
	Address []Prefix `yaml:"address" optional:"true"`
	Up      bool     `yaml:"up" optional:"true"`
	MTU     uint32   `yaml:"mtu" min:"68" max:"65535" optional:"true"`
	// MAC is for internal ports. Without it a new port gets a MAC derived from machine,
	// datapath and name, so that it is always the same.
	MAC odp.MAC `yaml:"mac" optional:"true"`
	// Tunnel is for tunnels.
	Tunnel Tunnel `yaml:"tunnel" optional:"true"`
	// MirrorTo names the port that gets a copy of all frames that this port receives and sends,
	// and carries nothing else.
	MirrorTo string `yaml:"mirror_to" optional:"true"`
	// Allow restricts the sources that the port may use; missing kinds are not restricted.
	Allow Allow `yaml:"allow" optional:"true"`
	// DHCPServer and RouterAdvertisements allow the port to send messages of DHCP servers and
	// of routers.
	DHCPServer           bool `yaml:"dhcp_server"`
	RouterAdvertisements bool `yaml:"router_advertisements"`
	// MulticastRouter makes the port get the packets of all groups.
	MulticastRouter bool `yaml:"multicast_router"`
	// LoopGuard is the protection against loops at the port; "" is Config.LoopGuard.
	LoopGuard LoopGuard `yaml:"loop_guard" optional:"true"`
}

// Tunnel is the endpoints and the encapsulation of a tunnel port.
type Tunnel struct {
	// Remote and Local are the addresses of the peer and of this host. An unset Local is any.
	Remote Addr `yaml:"remote" optional:"true"`
	Local  Addr `yaml:"local" optional:"true"`
	// Key is the network identifier (VNI) of VXLAN and Geneve, and the key
	// of GRE, where 0 is none.
	Key uint32 `yaml:"key" min:"0" max:"4294967295"`
	// DstPort is the UDP port of VXLAN and Geneve; see Port.DstPort.
	DstPort uint32 `yaml:"dst_port" min:"1" max:"65535" optional:"true"`
	// TTL is 64 if it is not set.
	TTL uint32 `yaml:"ttl" min:"1" max:"255" optional:"true"`
	TOS TOS    `yaml:"tos" optional:"true"`
	// CSum adds the optional checksum: of UDP over IPv4 and of GRE.
	CSum bool `yaml:"csum"`
}

// Policy configures how dpifd decides about packets.
type Policy struct {
	Type PolicyType `yaml:"type"`
	// MACAging and MACLimit are for the learning policy: the time after which a MAC that is not
	// seen is removed, and the maximum number of MACs.
	MACAging time.Duration `yaml:"mac_aging" min:"1s" max:"24h"`
	MACLimit int           `yaml:"mac_limit" min:"1" max:"1000000"`
	// SharedLearning makes all VLANs share one MAC table.
	SharedLearning bool `yaml:"shared_learning"`
	// ForwardBPDU forwards reserved multicast.
	ForwardBPDU bool `yaml:"forward_bpdu"`
	// MulticastSnooping makes the learning policy send packets of multicast groups to their
	// members and to routers. Packets of groups without members go to all ports if
	// MulticastFloodUnregistered is set. MulticastGroupLimit is the number of groups that a
	// port may have.
	MulticastSnooping          bool `yaml:"multicast_snooping"`
	MulticastFloodUnregistered bool `yaml:"multicast_flood_unregistered"`
	MulticastGroupLimit        int  `yaml:"multicast_group_limit" min:"1" max:"10000"`
	// StaticMACs are MACs with a fixed port.
	StaticMACs []forward.StaticMAC `yaml:"static_macs"`
}

// Flows limits the flow table of the kernel.
type Flows struct {
	// MaxIdle is the time after which a flow without packets is deleted.
	MaxIdle time.Duration `yaml:"max_idle" min:"100ms" max:"24h"`
	// Limit is the maximum number of flows.
	Limit int `yaml:"limit" min:"1" max:"10000000"`
	// MaxDump is the target time of a dump of all flows. If a dump takes longer, fewer flows
	// than Limit are allowed.
	MaxDump time.Duration `yaml:"max_dump" min:"100ms" max:"1m"`
	// Prime installs the flow of a packet's answers together with its own.
	Prime bool `yaml:"prime"`
	// Stages is the number of stages in which flows are installed.
	Stages Stages `yaml:"stages"`
	// Static are flows that are always installed.
	Static []forward.StaticFlow `yaml:"static"`
}

// Log configures the log.
type Log struct {
	Level  Level     `yaml:"level"`
	Format LogFormat `yaml:"format"`
	// StatsInterval is the time from one stats event to the next; 0 is none.
	StatsInterval time.Duration `yaml:"stats_interval" min:"100ms" max:"24h" zero:"off"`
	// UpcallRate is the maximum number of upcalls per second that are logged at level debug, 0
	// is no limit.
	UpcallRate uint32 `yaml:"upcall_rate" unit:"rate" min:"1/s" max:"1000000/s" zero:"all"`
}

// Control is the socket on which commands reach the daemon.
type Control struct {
	// Socket is a path, ControlAuto for a path derived from the datapath's name, or ControlOff
	// or empty for none.
	Socket string `yaml:"socket"`
	// Group is the group, by name or number, that may connect besides the
	// owner; empty is the process's own.
	Group string `yaml:"group"`
	// Mode is the socket's file mode.
	Mode uint32 `yaml:"mode" unit:"mode" min:"0600" max:"0666"`
	// PProf serves the profiles of net/http/pprof too.
	PProf bool `yaml:"pprof"`
}

// Values of Control.Socket that are not paths.
const (
	ControlAuto = "auto"
	ControlOff  = "off"
)

// OnExit is what dpifd does with the datapath at exit.
type OnExit string

// OnExitKeep leaves datapath and flows, OnExitFlush removes the flows,
// OnExitDelete removes the datapath.
const (
	OnExitKeep   OnExit = "keep"
	OnExitFlush  OnExit = "flush"
	OnExitDelete OnExit = "delete"
)

// RingTX is whether request sockets have TX rings.
type RingTX string

// TXOff sends requests by sendmsg, TXAuto through TX rings if Mode allows rings and the kernel
// has them.
const (
	TXOff  RingTX = "off"
	TXAuto RingTX = "auto"
)

// PortType is the kind of a vport.
type PortType string

// PortNetdev is an existing network device, PortInternal a device that the datapath creates;
// the others are tunnels.
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

// Level is the lowest severity that is logged.
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

// FormatJSON is one JSON object per line, FormatConsole is for people.
const (
	FormatJSON    LogFormat = "json"
	FormatConsole LogFormat = "console"
)

// LogFormats returns the names of the formats. The caller owns them.
func LogFormats() []string { return LogFormat("").Values() }

// enum is a string type with a fixed set of values.
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
		Socket:        Socket{Rcvbuf: 16 << 20},
		Ports:         []Port{},
		PortsUnlisted: UnlistedAuto,
		LoopGuard:     LoopGuardOff,
		Policy: Policy{
			Type: PolicyLearning, MACAging: 300 * time.Second, MACLimit: 8192, StaticMACs: []forward.StaticMAC{},
			MulticastFloodUnregistered: true, MulticastGroupLimit: snoop.DefaultGroupLimit,
		},
		Flows: Flows{MaxIdle: 10 * time.Second, Limit: 200_000, MaxDump: time.Second, Prime: true,
			Stages: StagesAuto, Static: []forward.StaticFlow{}},
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

// defaultPort returns the defaults of an entry of ports.
func defaultPort() Port {
	return Port{Type: PortNetdev, DHCPServer: true, RouterAdvertisements: true}
}
