package lab

import (
	"context"
	"os/exec"
	"sync"
	"sync/atomic"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// life is what a machine is from one boot to the next power cut: all that runs
// on it, and all that talks to it.
type life struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	tasks   group
	systemd *systemd
	up      atomic.Bool // booted, and takes connections
	dark    atomic.Bool // nothing comes through its connections any more

	starting sync.RWMutex // held shared by whoever starts a process
	over     bool         // nothing starts any more
	end      sync.Once
}

func (m *Machine) newLife() *life {
	l := &life{}
	l.ctx, l.cancel = context.WithCancelCause(m.fleet.ctx)
	l.systemd = newSystemd(l.ctx, &l.tasks, m.fleet.opts.RestartDelay, &m.faults,
		func(_ context.Context, argv []string) { m.runTimed(l, argv) })
	l.systemd.add(Unit, m.runAgent)
	return l
}

// systemd is the manager of now.
func (m *Machine) systemd() *systemd { return m.current.Load().systemd }

// start starts a process, or tells that the power is off.
func (l *life) start(cmd *exec.Cmd) error {
	l.starting.RLock()
	defer l.starting.RUnlock()
	if l.over {
		return errNoPower
	}
	return cmd.Start()
}

// endLife is the moment of the power cut. The processes die before they could
// see that their connections end, and the clients do not hear that they died.
// It does not wait for the lab's own goroutines: off does.
func (m *Machine) endLife(l *life) {
	l.dark.Store(true)
	l.up.Store(false)
	_ = m.adjustPort()
	l.end.Do(func() {
		l.starting.Lock()
		l.over = true
		l.starting.Unlock()
		if !killMarked(m.mark(), drainTime) {
			m.fleet.opts.Notice("machine " + m.Name + ": a process can't be killed")
		}
		l.cancel(agent.ErrKilled)
	})
}
