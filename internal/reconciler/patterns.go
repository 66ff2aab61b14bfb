package reconciler

import (
	"path"
	"slices"

	"dpifd/internal/dpif"
)

// matches returns the first pattern that matches a name, nil if there is none.
func (r *Reconciler) matches(name string) *PortConfig {
	for i := range r.patterns {
		if ok, _ := path.Match(r.patterns[i].Match, name); ok {
			return &r.patterns[i]
		}
	}
	return nil
}

// matchPatterns adds the ports of patterns to the configured ones: vports bound to such an
// entry, even under a new name, vports without an entry, and devices that could be attached.
// The table of bindings must be up to date.
func (r *Reconciler) matchPatterns(vports []dpif.Vport) {
	if len(r.patterns) == 0 {
		return
	}
	var ports, former []PortConfig
	have := map[string]bool{r.kernel.Name(): true}
	for _, p := range r.configured {
		if p.Match != "" {
			former = append(former, p)
			continue
		}
		ports = append(ports, p)
		have[p.Name] = true
	}
	add := func(name string, t dpif.VportType) {
		if m := r.matches(name); m != nil && m.Type == t && !have[name] {
			p := *m
			p.Name, have[name] = name, true
			ports = append(ports, p)
		}
	}
	taken := map[string]bool{}
	for _, b := range r.bound.Ports() {
		add(b.Entry, b.Type)
		taken[b.Name] = !b.Elsewhere
	}
	for i := range vports {
		v := &vports[i]
		taken[v.Name] = taken[v.Name] || !v.Elsewhere
		if v.No != 0 && !v.Elsewhere && r.bound.Entry(v.No) == "" {
			add(v.Name, v.Type)
		}
	}
	for _, name := range r.candidates() {
		if !taken[name] {
			add(name, dpif.VportNetdev)
		}
	}
	for _, p := range former {
		if !have[p.Name] {
			r.forgetPort(p.Name)
		}
	}
	r.configured, r.maxUpcalls = ports, maxUpcalls(ports)
}

// candidates names the devices that patterns may attach.
func (r *Reconciler) candidates() []string {
	attaches := func(p PortConfig) bool { return p.Type == dpif.VportNetdev }
	if r.devices.Devices == nil || !slices.ContainsFunc(r.patterns, attaches) {
		return nil
	}
	names, err := r.devices.Candidates()
	if err != nil {
		return nil // the next look finds them
	}
	return names
}
