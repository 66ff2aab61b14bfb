package policyswitch

import (
	"fmt"

	"dpifd/internal/config"
	"dpifd/internal/forward"
	"dpifd/internal/odp"
)

// maxFlowActions is the maximum size of a flow's actions in bytes: the kernel dumps them with
// key and mask in one attribute (Linux >= 4.15).
const maxFlowActions = 65_000

// FloodWarning returns a warning that floods get no flow with this configuration, because they go
// to more ports than a flow can name, or "".
func FloodWarning(cfg *config.Config) string {
	if cfg.Policy.Type != config.PolicyLearning && cfg.Policy.Type != "flood" {
		return ""
	}
	var names []string
	devices := map[string]bool{}
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		switch {
		case p.Match != "": // their number is unknown
		case !p.Type.IsTunnel():
			names = append(names, p.Name)
		case !devices[p.Device().Name()]:
			devices[p.Device().Name()] = true
			names = append(names, p.Device().Name())
		}
	}
	ports, _ := forwardingPorts(cfg)
	number(ports)
	bytes, vlan := forward.LongestFlood(ports, names)
	kernels := ""
	switch {
	case bytes > maxFlowActions:
	case bytes > odp.MaxActions:
		kernels = " before Linux 4.15"
	default:
		return ""
	}
	return fmt.Sprintf("a flood in VLAN %d takes %d bytes of actions, too many for a flow%s: each broadcast packet "+
		"will be an upcall", vlan, bytes, kernels)
}
