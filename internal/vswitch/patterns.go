package vswitch

import (
	"path"
	"slices"

	"dpifd/internal/dpif"
)

// configure takes over the entries of the configuration.
func (s *Server) configure(entries []PortConfig) {
	s.patterns, s.cfg.Ports = nil, nil
	for _, p := range entries {
		if p.Match != "" {
			s.patterns = append(s.patterns, p)
		} else {
			s.cfg.Ports = append(s.cfg.Ports, p)
		}
	}
	s.maxUpcalls = maxUpcalls(s.cfg.Ports)
}

// matches returns the first pattern that matches a name, nil if there is none.
func (s *Server) matches(name string) *PortConfig {
	for i := range s.patterns {
		if ok, _ := path.Match(s.patterns[i].Match, name); ok {
			return &s.patterns[i]
		}
	}
	return nil
}

// matchPatterns has the ports of patterns among the configured ones: vports that are
// bound to such an entry, whatever their name is by now, vports without an entry, and
// devices that could be attached. The table of bindings is up to date.
func (s *Server) matchPatterns(vports []dpif.Vport) {
	if len(s.patterns) == 0 {
		return
	}
	var ports, former []PortConfig
	have := map[string]bool{s.dp.Name(): true}
	for _, p := range s.cfg.Ports {
		if p.Match != "" {
			former = append(former, p)
			continue
		}
		ports = append(ports, p)
		have[p.Name] = true
	}
	add := func(name string, t dpif.VportType) {
		if m := s.matches(name); m != nil && m.Type == t && !have[name] {
			p := *m
			p.Name, have[name] = name, true
			ports = append(ports, p)
		}
	}
	taken := map[string]bool{}
	for _, b := range s.bound.Ports() {
		add(b.Entry, b.Type)
		taken[b.Name] = !b.Elsewhere
	}
	for i := range vports {
		v := &vports[i]
		taken[v.Name] = taken[v.Name] || !v.Elsewhere
		if v.No != 0 && !v.Elsewhere && s.bound.Entry(v.No) == "" {
			add(v.Name, v.Type)
		}
	}
	for _, name := range s.candidates() {
		if !taken[name] {
			add(name, dpif.VportNetdev)
		}
	}
	for _, p := range former {
		if !have[p.Name] {
			s.forgetWaiting(p.Name)
		}
	}
	s.cfg.Ports, s.maxUpcalls = ports, maxUpcalls(ports)
}

// candidates names the devices that patterns may attach.
func (s *Server) candidates() []string {
	if s.cfg.Devices == nil || !slices.ContainsFunc(s.patterns, func(p PortConfig) bool { return p.Type == dpif.VportNetdev }) {
		return nil
	}
	names, err := s.cfg.Devices.Candidates()
	if err != nil {
		return nil // the next look finds them
	}
	return names
}

// forgetWaiting forgets what a port waited for that is not configured any more.
func (s *Server) forgetWaiting(name string) {
	delete(s.waiting, name)
	delete(s.retries, name)
	delete(s.setUp, name)
}
