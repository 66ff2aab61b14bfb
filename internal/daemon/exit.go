package daemon

import (
	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
)

// leave carries out on_exit.
func (d *run) leave(dp *dpif.Datapath) error {
	var err error
	var done event.Event = evFlowsFlushed{}
	switch d.cfg().Datapath.OnExit {
	case config.OnExitFlush:
		err = dp.FlushFlows()
	case config.OnExitDelete:
		done = evDatapathDeleted{}
		if err = dp.Delete(); err == nil {
			err = d.devices.Sweep(nil)
		}
	default:
		return nil
	}
	if err != nil {
		d.log.emit(evExitFailed{OnExit: string(d.cfg().Datapath.OnExit), Err: err})
		return err
	}
	d.log.emit(done)
	return nil
}
