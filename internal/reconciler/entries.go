package reconciler

import (
	"fmt"
	"slices"

	"dpifd/internal/binding"
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// Restore takes the bindings of vports to entries of the configuration that Entries returned in
// the previous process. It is called before Begin. It returns the numbers of the vports that
// are still the same.
func (r *Reconciler) Restore(former []binding.Port) (map[odp.PortNo]bool, error) {
	vports, err := r.vports()
	if err != nil {
		return nil, err
	}
	r.bound.Restore(former, vports)
	same := map[odp.PortNo]bool{}
	for _, v := range vports {
		same[v.No] = !r.bound.Replaced(v.No)
	}
	return same, nil
}

// Begin removes the vports of the previous process whose entries are no longer configured. It
// returns the ports that the policy must know before the first look, and the number of ports
// including those that will be attached.
func (r *Reconciler) Begin() (ports []policy.Port, expected int, err error) {
	vports, err := r.vports()
	if err == nil {
		vports, err = r.removeFormer(vports)
	}
	if err != nil {
		return nil, 0, err
	}
	r.bind(vports)
	names := make(map[string]bool, len(vports)+len(r.configured))
	for _, v := range vports {
		names[v.Name] = true
	}
	for _, p := range r.configured {
		names[p.Name] = true
	}
	return r.policyPorts(vports, Look{Start: true}), len(names), nil
}

// LacksConfigured reports whether a configured port has no vport.
func (r *Reconciler) LacksConfigured() bool {
	return slices.ContainsFunc(r.configured, func(p PortConfig) bool {
		_, bound := r.bound.Number(p.Name)
		return !bound
	})
}

// Entries returns the vports with their devices and entries. It may be called from any
// goroutine.
func (r *Reconciler) Entries() []binding.Port { return r.bound.Ports() }

// vports lists the vports of the datapath.
func (r *Reconciler) vports() ([]dpif.Vport, error) {
	vports, err := r.kernel.Vports()
	if err == nil {
		r.devices.fillIfindex(vports)
	}
	return vports, err
}

// entry is p in the form of the table of bindings.
func (r *Reconciler) entry(p PortConfig) binding.Entry {
	return binding.Entry{Name: p.Name, Type: p.Type, Local: p.Name == r.kernel.Name()}
}

// bind binds configured ports to vports of the datapath.
func (r *Reconciler) bind(vports []dpif.Vport) {
	r.bound.Update(vports)
	r.matchPatterns(vports)
	entries := make([]binding.Entry, len(r.configured))
	for i, p := range r.configured {
		entries[i] = r.entry(p)
	}
	r.bound.Bind(entries, vports, r.devices.find)
}

// retire removes the vports of entries that are no longer configured. An entry of another name
// that finds the same device takes the vport over.
func (r *Reconciler) retire(entries []string, vports []dpif.Vport) error {
	has := byNo(vports)
	gone := map[odp.PortNo]string{}
	for _, name := range entries {
		no, ok := r.bound.Release(name)
		if !ok || no == 0 || has[no] == nil {
			continue
		}
		gone[no] = name
		if slices.ContainsFunc(r.configured, func(p PortConfig) bool { return p.Name == name }) {
			// The port has another type now.
			if err := r.remove(*has[no]); err != nil {
				return err
			}
			delete(gone, no)
			vports = slices.DeleteFunc(slices.Clone(vports), func(v dpif.Vport) bool { return v.No == no })
		}
	}
	if len(gone) == 0 {
		return nil
	}
	r.bind(vports)
	for no := range gone {
		if r.bound.Entry(no) == "" {
			if err := r.remove(*has[no]); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes a vport. It returns no error if the vport is already gone. If the kernel
// refuses, remove only emits an event.
func (r *Reconciler) remove(v dpif.Vport) error {
	err := r.kernel.DeleteVport(v.No)
	switch {
	case err == nil:
		if r.table.Load().Get(v.No) == nil {
			r.bound.Forget(v.No)
			r.notify(PortRemoved{No: v.No, Name: v.Name})
		}
	case !dpif.IsGone(err):
		r.notify(PortFailed{No: v.No, Name: v.Name, Err: err})
	}
	return nil
}

// removeFormer removes ports that were configured for the previous process and no longer are,
// and returns the remaining vports.
func (r *Reconciler) removeFormer(vports []dpif.Vport) ([]dpif.Vport, error) {
	r.matchPatterns(vports)
	var former []string
	for _, p := range r.bound.Ports() {
		if p.Entry != "" && !slices.ContainsFunc(r.configured, func(c PortConfig) bool {
			return c.Name == p.Entry && (c.Type == dpif.VportInternal) == (p.Type == dpif.VportInternal)
		}) {
			former = append(former, p.Entry)
		}
	}
	if len(former) == 0 {
		return vports, nil
	}
	if err := r.retire(former, vports); err != nil {
		return nil, err
	}
	return r.vports()
}

// policyPorts are vports as policies see them.
func (r *Reconciler) policyPorts(vports []dpif.Vport, look Look) []policy.Port {
	configured := make(map[string]bool, len(r.configured))
	for _, p := range r.configured {
		configured[p.Name] = true
	}
	served := r.table.Load()
	ports := make([]policy.Port, len(vports))
	for i, v := range vports {
		ports[i] = r.policyPort(&v, configured)
		if p := served.Get(v.No); p != nil {
			ports[i].SinceMS = p.sinceMS
		} else if !look.Start || r.bound.Replaced(v.No) {
			ports[i].SinceMS = sinceNow() // no upcall of it is decided
		}
	}
	return ports
}

// policyPort is a vport as policies see it.
func (r *Reconciler) policyPort(v *dpif.Vport, configured map[string]bool) policy.Port {
	entry := r.bound.Entry(v.No)
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
