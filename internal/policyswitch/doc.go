// Package policyswitch holds the policy in force, which a reload replaces while handlers use
// it. It makes policies of the configuration, hands MACs, groups and counters from one to the
// next, and drops what comes in by vports without an entry where the configuration says so.
package policyswitch
