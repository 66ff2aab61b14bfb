// Package overview combines the data of the kernel and of the daemon about one datapath, for
// dpifd status and dpifd top.
//
// A Sample is the data of both at one time; New compares two samples and computes the rates
// between them. The kernel's part needs no daemon.
package overview

import (
	"context"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/internal/inspect"
)

// Sample is the state of a datapath at one time.
type Sample struct {
	At     time.Time
	Kernel inspect.Datapath
	// The rest is nil, and Err says why, if no daemon answers.
	Stats  *endpoint.Stats
	Config *config.Config
	MACs   map[string]int // by port; nil if there are too many to count
	Err    error
}

// maxMACs is the maximum number of MACs that are counted by port: more would cost too much
// transfer.
const maxMACs = 20_000

// Take reads the datapath of a name, and asks its daemon. It fails only if the kernel does not
// answer.
func Take(ctx context.Context, r *inspect.Reader, name string, c *control.Client) (*Sample, error) {
	dp, err := r.Datapath(name)
	if err != nil {
		return nil, err
	}
	s := &Sample{At: time.Now(), Kernel: dp}
	s.Err = s.ask(ctx, c)
	return s, nil
}

func (s *Sample) ask(ctx context.Context, c *control.Client) error {
	stats, err := endpoint.GetStats.Ask(ctx, c, control.None{})
	if err != nil {
		return err
	}
	in, err := endpoint.GetConfig.Ask(ctx, c, control.None{})
	if err != nil {
		return err
	}
	cfg, err := config.Parse("the configuration in force", []byte(in.YAML))
	if err != nil {
		return err
	}
	s.Stats, s.Config = stats, cfg
	if n, _ := stats.Totals.Get("macs"); n > maxMACs {
		return nil
	}
	macs, err := endpoint.GetMACs.Ask(ctx, c, control.None{})
	if err != nil {
		return err
	}
	s.MACs = map[string]int{}
	for _, m := range macs {
		s.MACs[m.Port]++
	}
	return nil
}
