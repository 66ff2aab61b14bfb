package portdevice

import (
	"slices"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/reconciler"
)

// Ports returns the vports that the datapath is to have: tunnels share
// those of their devices.
func Ports(cfg *config.Config) []reconciler.PortConfig {
	var ports []reconciler.PortConfig
	for _, p := range cfg.Ports {
		port := reconciler.PortConfig{Name: p.Name, Match: p.Match, Type: dpif.VportNetdev, MaxUpcalls: p.MaxUpcalls}
		switch {
		case p.Type == config.PortInternal:
			port.Type = dpif.VportInternal
		case p.Type.IsTunnel():
			port.Name = p.Device().Name()
			if i := slices.IndexFunc(ports, func(q reconciler.PortConfig) bool { return q.Name == port.Name }); i >= 0 {
				shareLimit(&ports[i], p.MaxUpcalls)
				continue
			}
		}
		ports = append(ports, port)
	}
	return ports
}

// shareLimit adds what one more tunnel of a device may send up: no limit if one
// has none.
func shareLimit(p *reconciler.PortConfig, more uint32) {
	if p.MaxUpcalls == 0 || more == 0 {
		p.MaxUpcalls = 0
		return
	}
	p.MaxUpcalls += more
}
