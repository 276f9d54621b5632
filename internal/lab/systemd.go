package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os/user"
	"sync"
	"time"
)

// systemd's default start limit (systemd-system.conf(5), DefaultStartLimitBurst).
const (
	startLimitBurst    = 5
	startLimitInterval = 10 * time.Second
)

// Results of a unit (systemd.service(5), $SERVICE_RESULT).
const (
	resultSuccess    = "success"
	resultExitCode   = "exit-code"
	resultStartLimit = "start-limit-hit"
)

var errStartLimit = errors.New("start limit hit")

// UnitState is the state of a unit that `systemctl show` prints.
type UnitState struct {
	Load, Active, Sub, File string // LoadState, ActiveState, SubState, UnitFileState
	InvocationID            string // 32 hexadecimal digits; empty before the first start
	Restarts                int    // NRestarts
	MainPID                 int
	StartedAt               int64 // ExecMainStartTimestampMonotonic, microseconds
	Result                  string
	// When it was last left active, and when its main process ended; microseconds.
	leftAt, exitedAt int64
}

// systemd simulates the service manager of one machine.
type systemd struct {
	ctx      context.Context
	tasks    *group
	delay    time.Duration                            // RestartSec= of all services
	runTimed func(ctx context.Context, argv []string) // runs the command of a transient timer
	oneshot  func(name string) []string               // the command of a guard; nil: no such unit
	reboot   func() bool                              // reboots the machine, for a fault of its package
	// readDropIns reads the drop-ins of a unit from the disk.
	readDropIns func(unit string) dropIns
	owner       string  // User= and Group= of all services
	faults      *faults // of the machine

	mu       sync.Mutex
	services map[string]*service
	timers   map[string]*timer
	lastPID  int
}

// service is one unit of Type=simple with Restart=on-failure.
type service struct {
	name string
	// run is the program; it calls ready when it has read its files.
	run     func(ctx context.Context, ready func()) error
	dropIns dropIns // as loaded last
	// condition is ConditionResult=, of the last start.
	condition bool
	job       sync.Mutex // held by a requested start or stop: systemd runs one job per unit
	state     UnitState
	// NRestarts is reset to 0 not when the service finally ends but at its
	// next start, so that it can be read until then.
	flush   bool
	starts  []time.Time // within startLimitInterval
	process *process    // nil: none
	retry   *time.Timer
}

// process is one life of a service.
type process struct {
	cancel context.CancelFunc
	done   chan struct{}
	ready  chan struct{} // closed once the program has read its files, or ended
}

func newSystemd(ctx context.Context, tasks *group, delay time.Duration, wrong *faults, runTimed func(context.Context, []string)) *systemd {
	owner := ""
	if me, err := user.Current(); err == nil {
		owner = me.Username
	}
	return &systemd{
		ctx: ctx, tasks: tasks, delay: delay, runTimed: runTimed, oneshot: func(string) []string { return nil },
		readDropIns: func(string) dropIns { return dropIns{} }, owner: owner, faults: wrong,
		services: map[string]*service{}, timers: map[string]*timer{}, lastPID: 400,
	}
}

// add loads a service that is enabled and not running.
func (d *systemd) add(name string, run func(ctx context.Context, ready func()) error) {
	d.services[name] = &service{name: name, run: run, dropIns: d.readDropIns(name), state: UnitState{
		Load: "loaded", Active: "inactive", Sub: "dead", File: "enabled", Result: resultSuccess,
	}}
}

// state returns a copy of a unit's state; for a unit that is not loaded, systemd's values.
func (d *systemd) state(name string) UnitState {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.services[name]; ok {
		return s.state
	}
	if t, ok := d.timers[name]; ok {
		return t.state()
	}
	return UnitState{Load: "not-found", Active: "inactive", Sub: "dead", Result: resultSuccess}
}

// start starts a stopped service; d.mu must be held. A start whose conditions fail is
// skipped: that is no error, and does not count for the limit (systemd.unit(5), "Conditions and
// asserts").
func (d *systemd) start(s *service, automatic bool) error {
	if s.process != nil {
		return nil
	}
	if s.condition = s.dropIns.holds(); !s.condition {
		if automatic {
			s.state.Active, s.state.Sub = "inactive", "dead"
		}
		return nil
	}
	now := time.Now()
	for len(s.starts) > 0 && now.Sub(s.starts[0]) >= startLimitInterval {
		s.starts = s.starts[1:]
	}
	if len(s.starts) >= startLimitBurst {
		s.state.Active, s.state.Sub, s.state.Result = "failed", "failed", resultStartLimit
		s.flush = true
		return errStartLimit
	}
	s.starts = append(s.starts, now)
	if automatic {
		s.state.Restarts++
	} else if s.flush {
		s.state.Restarts = 0
	}
	s.flush = false
	return d.spawn(s)
}

// spawn begins a life of the service; d.mu must be held. It returns once the program
// has read its files: what a test changes after that is for the next life.
func (d *systemd) spawn(s *service) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(d.ctx)
	p := &process{cancel: cancel, done: make(chan struct{}), ready: make(chan struct{})}
	started := monotonic() // before its first output
	if !d.tasks.Go(func() { d.live(ctx, s, p) }) {
		cancel()
		return context.Canceled
	}
	<-p.ready
	d.lastPID++
	s.process = p
	s.state.Active, s.state.Sub, s.state.Result = "active", "running", resultSuccess
	s.state.InvocationID, s.state.MainPID, s.state.StartedAt, s.state.exitedAt = invocationID(), d.lastPID, started.Microseconds(), 0
	return nil
}

func (d *systemd) live(ctx context.Context, s *service, p *process) {
	defer close(p.done)
	ready := sync.OnceFunc(func() { close(p.ready) })
	err := s.run(ctx, ready)
	ready()
	p.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.process != p {
		return // it was stopped
	}
	s.process = nil
	s.state.MainPID = 0
	s.state.exitedAt = monotonic().Microseconds()
	s.state.leftAt = s.state.exitedAt + 1
	if err == nil || d.ctx.Err() != nil {
		s.state.Active, s.state.Sub, s.flush = "inactive", "dead", true
		return
	}
	s.state.Active, s.state.Sub, s.state.Result = "activating", "auto-restart", resultExitCode
	s.retry = time.AfterFunc(d.delay, func() { d.restartLater(s) })
}

// restartLater restarts a failed service after RestartSec= (Restart=on-failure).
func (d *systemd) restartLater(s *service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.state.Sub == "auto-restart" && d.ctx.Err() == nil {
		_ = d.start(s, true)
	}
}

// stop ends a service and waits for its end; s.job must be held.
func (d *systemd) stop(s *service) {
	d.mu.Lock()
	p := s.process
	s.process = nil
	if s.retry != nil {
		s.retry.Stop()
	}
	failed := s.state.Active == "failed"
	if p != nil {
		s.state.Active, s.state.Sub = "deactivating", "stop-sigterm"
		s.state.leftAt = monotonic().Microseconds()
	}
	d.mu.Unlock()
	if p != nil {
		p.cancel()
		<-p.done
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p != nil {
		s.state.exitedAt = max(monotonic().Microseconds(), s.state.leftAt+1)
	}
	if failed {
		return // it stays failed, because there was nothing to stop
	}
	s.state.Active, s.state.Sub, s.state.MainPID, s.flush = "inactive", "dead", 0, true
}

// resetFailed resets failures and the starts that count for the limit.
func (d *systemd) resetFailed(s *service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.starts, s.state.Restarts, s.state.Result = nil, 0, resultSuccess
	if s.state.Active == "failed" {
		s.state.Active, s.state.Sub = "inactive", "dead"
	}
}

// adopt copies the persistent state of the manager before the boot: the enabled
// and the masked units.
func (d *systemd) adopt(before *systemd) {
	for name, s := range d.services {
		was := before.state(name)
		s.state.File, s.state.Load = was.File, was.Load
	}
}

// close removes the timers and cancels later starts; the end of
// its context ends running services.
func (d *systemd) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.services {
		if s.retry != nil {
			s.retry.Stop()
		}
	}
	for _, t := range d.timers {
		t.clock.Stop()
	}
	clear(d.timers)
}

func invocationID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails, see crypto/rand
	return hex.EncodeToString(id)
}
