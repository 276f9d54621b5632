package lab

import (
	"context"
	"os/exec"
	"sync"
	"sync/atomic"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// life is the state of a machine between a boot and the next power cut: its
// processes and its connections.
type life struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	tasks   group
	systemd *systemd
	up      atomic.Bool // booted, and accepts connections
	dark    atomic.Bool // its connections pass nothing

	starting sync.RWMutex // held shared while a process is started
	ended    bool         // no process may start
	end      sync.Once
}

func (m *Machine) newLife() *life {
	l := &life{}
	l.ctx, l.cancel = context.WithCancelCause(m.fleet.ctx)
	l.systemd = newSystemd(l.ctx, &l.tasks, m.fleet.opts.RestartDelay, &m.faults,
		func(_ context.Context, argv []string) { m.runTimed(l, argv) })
	l.systemd.oneshot, l.systemd.readDropIns, l.systemd.reboot = m.guardCommand, m.dropIns, m.packageReboot
	l.systemd.add(Unit, m.runAgent)
	return l
}

// systemd returns the service manager of the current life.
func (m *Machine) systemd() *systemd { return m.current.Load().systemd }

// start starts a process, or returns errNoPower.
func (l *life) start(cmd *exec.Cmd) error {
	l.starting.RLock()
	defer l.starting.RUnlock()
	if l.ended {
		return errNoPower
	}
	return cmd.Start()
}

// endLife cuts the power. The processes die before they can see the end of their
// connections, and the clients get no message of it. endLife does not wait for the
// lab's own goroutines; off does.
func (m *Machine) endLife(l *life) {
	l.dark.Store(true)
	l.up.Store(false)
	_ = m.adjustPort()
	l.end.Do(func() {
		l.starting.Lock()
		l.ended = true
		l.starting.Unlock()
		if !killMarked(m.mark(), drainTime) {
			m.fleet.opts.Notice("machine " + m.Name + ": a process can't be killed")
		}
		l.cancel(agent.ErrKilled)
	})
}
