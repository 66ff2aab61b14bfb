package forward

import (
	"fmt"
	"slices"
	"strings"

	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// MACTable is implemented by policies that learn MACs: their table can be read, taken over by
// the next policy, and flushed.
type MACTable interface {
	policy.Policy
	// Stats returns the counters. The caller owns the result.
	Stats() Stats
	// Snapshot returns the learned MACs, ordered by VLAN and MAC. The caller owns it.
	Snapshot() []MACEntry
	// Static returns the MACs of the configuration, in no order.
	Static() []MACEntry
	// Restore learns the entries of another table whose ports exist, unless something newer is
	// known.
	Restore([]MACEntry)
	// TakeFlapping returns at most n MACs that move back and forth between ports and were not
	// returned in the last 10 s, and the number of the others. Those that move most come first.
	TakeFlapping(nowMS int64, n int) (list []Flapping, others int)
	// Flush removes the learned MACs that of selects, and returns their number.
	Flush(nowMS int64, of func(vlan uint16, port odp.PortNo) bool) int
}

// kind is a policy with a name for the configuration.
type kind struct {
	name string
	make func(Config) (policy.Policy, error)
}

var kinds []kind

// register registers a policy under its name in the configuration. Each policy registers itself
// while the package is initialised. make ignores settings of other policies.
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

// New returns the policy of a name, without ports. The error names the wrong setting. A policy
// may also implement MACTable or policy.MeterPolicy.
func New(name string, cfg Config) (policy.Policy, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown policy %q, want %s", name, strings.Join(Policies(), ", "))
	}
	return kinds[i].make(cfg)
}
