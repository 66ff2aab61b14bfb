package policyswitch

import (
	"dpifd/internal/config"
	"dpifd/internal/forward"
	"dpifd/internal/guard"
)

// guardConfig returns what a port may send.
func guardConfig(p *config.Port) guard.Config {
	c := guard.Config{MACs: p.Allow.MACs, NoDHCPServer: !p.DHCPServer, NoRouterAdvertisements: !p.RouterAdvertisements}
	for _, a := range p.Allow.Addresses {
		c.Addresses = append(c.Addresses, a.Prefix)
	}
	return c
}

// multicastConfig returns how IP multicast is forwarded.
func multicastConfig(p *config.Policy) forward.MulticastConfig {
	return forward.MulticastConfig{Snooping: p.MulticastSnooping, FloodUnregistered: p.MulticastFloodUnregistered,
		GroupLimit: p.MulticastGroupLimit}
}
