package daemon

import (
	"context"
	"dpifd/internal/netns"
	"errors"

	"dpifd/internal/fdstore"
	"dpifd/internal/vswitch"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// errRestart ends the service so that a successor can continue it.
var errRestart = errors.New("restart")

// isRestart reports whether ctx ended for a successor.
func isRestart(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errRestart) }

// serveAcrossRestarts serves until ctx ends, or until the sockets are handed to a successor. If
// the successor cannot be started, it continues.
func (d *run) serveAcrossRestarts(ctx context.Context, o *Options) (err error) {
	if d.store, err = fdstore.Open(); err != nil {
		return err
	}
	if d.store != nil {
		defer d.store.Close()
	}
	for {
		serving, end := context.WithCancelCause(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			d.restarts(serving, o, end)
		}()
		err = netns.Do(d.cfg().Netns, func() error { return d.serve(serving) })
		restart := isRestart(serving)
		end(nil)
		<-watched
		if err != nil || !restart {
			closeAll(d.inherited)
			return err
		}
		if d.store != nil {
			return nil
		}
		// Without a datapath the inherited descriptors are still unused.
		d.inherited, d.left = append(d.left, d.inherited...), nil
		d.lines.Flush(logFlush)
		if err := o.Exec(d.inherited); err != nil {
			d.log.emit(evRestartFailed{Err: err})
		}
		if d.stats != nil {
			d.served, d.past = true, d.stats.total
		}
	}
}

// restarts ends the service, by end, when a restart is requested and possible.
func (d *run) restarts(ctx context.Context, o *Options, end context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.Restart:
		}
		// The service manager checks the program when it starts it.
		if d.store == nil {
			if err := o.Check(ctx); err != nil {
				d.log.emit(evRestartFailed{Err: err})
				continue
			}
		}
		d.mu.Lock()
		if d.server != nil {
			d.server.HandOver()
		}
		end(errRestart)
		d.mu.Unlock()
		return
	}
}

// handOver records the sockets that the server left, and logs them.
func (d *run) handOver(server *vswitch.Server) {
	d.left = server.Sockets()
	if st, err := server.Stats(); err == nil {
		d.leaveCheckpoint(server, &st.Datapath, d.policy.Snapshot(), d.policy.Groups())
	}
	to := "exec"
	if d.store != nil {
		to = "service_manager"
	}
	d.log.emit(evHandedOver{To: to, Sockets: len(d.left), NotHandedOver: server.Abandoned()})
}

// notifyEnding reports the end of ctx to the service manager, except for an exec.
func (d *run) notifyEnding(ctx context.Context) {
	if isRestart(ctx) && d.store == nil {
		d.notifyReloading()
		return
	}
	d.notifyManager(sd.SdNotifyStopping)
}

// closeAll closes descriptors that are not used.
func closeAll(list []fdstore.Descriptor) {
	for _, f := range list {
		_ = unix.Close(f.FD)
	}
}
