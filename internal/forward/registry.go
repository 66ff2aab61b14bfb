package forward

import (
	"fmt"
	"slices"
	"strings"

	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// MACTable is what a policy can that learns MACs: its table can be looked at, taken
// over by the next policy, and emptied.
type MACTable interface {
	policy.Policy
	// Stats returns the counters. The caller owns the result.
	Stats() Stats
	// Snapshot returns what was learned, ordered by VLAN and MAC. The caller owns it.
	Snapshot() []MACEntry
	// Static returns the MACs that are known by configuration, in no order.
	Static() []MACEntry
	// Restore learns the entries of another table, as far as their ports are there
	// and nothing newer is known.
	Restore([]MACEntry)
	// Flush forgets the learned MACs that of selects, and returns how many.
	Flush(nowMS int64, of func(vlan uint16, port odp.PortNo) bool) int
}

// kind is a policy that a configuration can name.
type kind struct {
	name string
	make func(Config) (policy.Policy, error)
}

var kinds []kind

// register makes a policy known under the name that configurations have for it. It
// is called while the package is initialised: each policy registers itself. make
// ignores settings that are not the policy's.
func register[P policy.Policy](name string, make func(Config) (P, error)) struct{} {
	kinds = append(kinds, kind{name, func(cfg Config) (policy.Policy, error) {
		p, err := make(cfg)
		if err != nil {
			return nil, fmt.Errorf("%s policy: %w", name, err)
		}
		return p, nil
	}})
	return struct{}{}
}

// Policies returns the names of all policies.
func Policies() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// New returns the policy of a name, which knows no ports yet. The error says which
// setting is wrong. A policy that can more than forward is a MACTable or a
// policy.MeterPolicy as well.
func New(name string, cfg Config) (policy.Policy, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return nil, fmt.Errorf("policy %q is not known, want %s", name, strings.Join(Policies(), ", "))
	}
	return kinds[i].make(cfg)
}
