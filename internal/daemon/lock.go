package daemon

import (
	"dpifd/internal/netns"
	"errors"
	"fmt"

	"dpifd/internal/rundir"
)

// datapathLock prevents other daemons from serving the same datapath.
type datapathLock struct {
	dir  *rundir.Dir
	lock *rundir.Lock
}

// lock locks a datapath in the calling thread's network namespace. It returns an error if another
// process serves the datapath. If the runtime directory cannot be used, this is logged and the
// daemon continues without a lock. The caller releases the lock.
func (d *run) lock(datapath, kind string) (*datapathLock, error) {
	l := &datapathLock{}
	ns, err := netns.Current()
	if err == nil {
		l.dir, err = rundir.Open(rundir.Path)
	}
	if err == nil {
		l.lock, err = l.dir.Lock(fmt.Sprintf("%s.%s.%s", datapath, netns.Number(ns), kind))
	}
	if err == nil {
		return l, nil
	}
	l.release()
	var other *rundir.LockedError
	if errors.As(err, &other) {
		return nil, fmt.Errorf("datapath %s is served already: %w; one daemon serves a datapath", d.cfg().Datapath.Name, err)
	}
	d.log.emit(evLockUnavailable{Err: err})
	return &datapathLock{}, nil
}

func (l *datapathLock) release() {
	l.lock.Release()
	if l.dir != nil {
		l.dir.Close()
	}
	*l = datapathLock{}
}
