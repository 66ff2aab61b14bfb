package vswitch

import (
	"fmt"
	"slices"

	"dpifd/internal/binding"
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// Restore takes over which vports belonged to which entries of the configuration, as
// Entries of the process before returned them. It is called before Run. It returns the
// numbers of the vports that are the same as then.
func (s *Server) Restore(former []binding.Port) (map[odp.PortNo]bool, error) {
	s.statsMu.Lock()
	vports, err := s.statsDP.Vports()
	s.statsMu.Unlock()
	if err != nil {
		return nil, err
	}
	s.fillIfindex(vports)
	s.bound.Restore(former, vports)
	same := map[odp.PortNo]bool{}
	for _, v := range vports {
		same[v.No] = !s.bound.Replaced(v.No)
	}
	return same, nil
}

// Entries returns the vports with their devices and entries. It may be called from any
// goroutine.
func (s *Server) Entries() []binding.Port { return s.bound.Ports() }

// vports lists the vports of the datapath.
func (s *Server) vports() ([]dpif.Vport, error) {
	vports, err := s.dp.Vports()
	if err == nil {
		s.fillIfindex(vports)
	}
	return vports, err
}

// fillIfindex looks up the devices of vports where the kernel does not tell them (before
// 4.15).
func (s *Server) fillIfindex(vports []dpif.Vport) {
	if s.cfg.Devices == nil || !slices.ContainsFunc(vports, func(v dpif.Vport) bool { return v.Ifindex == 0 }) {
		return
	}
	indexes, err := s.cfg.Devices.Indexes()
	if err != nil {
		return // then names have to do
	}
	for i := range vports {
		if v := &vports[i]; v.Ifindex == 0 {
			v.Ifindex = indexes[v.Name]
		}
	}
}

// entry is p as the table of bindings knows it.
func (s *Server) entry(p PortConfig) binding.Entry {
	return binding.Entry{Name: p.Name, Type: p.Type, Local: p.Name == s.dp.Name()}
}

// bind ties configured ports to vports of the datapath.
func (s *Server) bind(vports []dpif.Vport) {
	s.bound.Update(vports)
	s.matchPatterns(vports)
	entries := make([]binding.Entry, len(s.cfg.Ports))
	for i, p := range s.cfg.Ports {
		entries[i] = s.entry(p)
	}
	s.bound.Bind(entries, vports, func(name string) uint32 {
		if s.cfg.Devices == nil {
			return 0
		}
		return s.cfg.Devices.Find(name)
	})
}

// retire takes the vports of entries off the datapath that are not configured any more.
// An entry of another name that finds the same device takes the vport over.
func (s *Server) retire(entries []string, vports []dpif.Vport) error {
	has := byNo(vports)
	gone := map[odp.PortNo]string{}
	for _, name := range entries {
		no, ok := s.bound.Release(name)
		if !ok || no == 0 || has[no] == nil {
			continue
		}
		gone[no] = name
		if slices.ContainsFunc(s.cfg.Ports, func(p PortConfig) bool { return p.Name == name }) {
			// It is a port of another type now.
			if err := s.remove(*has[no]); err != nil {
				return err
			}
			delete(gone, no)
			vports = slices.DeleteFunc(slices.Clone(vports), func(v dpif.Vport) bool { return v.No == no })
		}
	}
	if len(gone) == 0 {
		return nil
	}
	s.bind(vports)
	for no := range gone {
		if s.bound.Entry(no) == "" {
			if err := s.remove(*has[no]); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes a vport. That it has gone already is no error, nor that the kernel
// refuses it, which is said.
func (s *Server) remove(v dpif.Vport) error {
	err := s.dp.DeleteVport(v.No)
	switch {
	case err == nil:
		if !s.serves(v.No) {
			s.bound.Forget(v.No)
			s.cfg.Notify(PortRemoved{No: v.No, Name: v.Name})
		}
	case !dpif.IsGone(err):
		s.cfg.Notify(PortFailed{No: v.No, Name: v.Name, Err: err})
	}
	return nil
}

// removeFormer takes ports off the datapath that were configured for the process before
// and are not any more, and returns the vports that stay.
func (s *Server) removeFormer(vports []dpif.Vport) ([]dpif.Vport, error) {
	s.matchPatterns(vports)
	var former []string
	for _, p := range s.bound.Ports() {
		if p.Entry != "" && !slices.ContainsFunc(s.cfg.Ports, func(c PortConfig) bool {
			return c.Name == p.Entry && (c.Type == dpif.VportInternal) == (p.Type == dpif.VportInternal)
		}) {
			former = append(former, p.Entry)
		}
	}
	if len(former) == 0 {
		return vports, nil
	}
	if err := s.retire(former, vports); err != nil {
		return nil, err
	}
	return s.vports()
}

// policyPort is a vport as policies see it.
func (s *Server) policyPort(v *dpif.Vport, configured map[string]bool) policy.Port {
	entry := s.bound.Entry(v.No)
	p := policy.Port{No: v.No, Name: v.Name, Device: v.Name, Listed: entry != ""}
	switch {
	case entry != "":
		p.Name = entry
	case v.Elsewhere:
		p.Name = fmt.Sprintf("%s (netns %d)", v.Name, v.Netns)
	case configured[v.Name]:
		p.Name = fmt.Sprintf("%s (ifindex %d)", v.Name, v.Ifindex) // the entry is another vport's
	}
	return p
}
