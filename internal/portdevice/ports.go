package portdevice

import (
	"slices"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/reconciler"
)

// Ports returns the vports that the datapath must have: tunnels of the same device share its
// vport.
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

// shareLimit adds the limit of one more tunnel of a device: there is no limit if one of the
// tunnels has none.
func shareLimit(p *reconciler.PortConfig, more uint32) {
	if p.MaxUpcalls == 0 || more == 0 {
		p.MaxUpcalls = 0
		return
	}
	p.MaxUpcalls += more
}
