package lab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timer is a transient timer of systemd-run with its service. Both are removed
// when the timer is stopped and the service has ended (--collect).
type timer struct {
	argv    []string
	repeat  time.Duration // OnUnitActiveSec=; 0: once
	clock   *time.Timer
	elapsed bool // fired for the last time
	running bool // its service runs
}

func (t *timer) state() UnitState {
	s := UnitState{Load: "loaded", Active: "active", Sub: "waiting", File: "transient", Result: resultSuccess}
	switch {
	case t.running:
		s.Sub = "running"
	case t.elapsed:
		s.Sub = "elapsed"
	}
	return s
}

// timerArgs are the parts of a command line of systemd-run.
type timerArgs struct {
	unit     string
	onActive time.Duration
	repeat   time.Duration
	argv     []string
}

func parseSystemdRun(args []string) (c timerArgs, err error) {
	for i, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "-q", "--quiet", "--collect", "--timer-property", "--property", "--description", "--slice":
		case "--unit":
			c.unit = strings.TrimSuffix(strings.TrimSuffix(value, ".timer"), ".service")
		case "--on-active":
			c.onActive, err = timeSpan(value)
		case "--on-unit-active":
			c.repeat, err = timeSpan(value)
		case "--":
		default:
			if strings.HasPrefix(arg, "-") {
				return c, fmt.Errorf("systemd-run: unrecognized option '%s'", arg)
			}
			c.argv = args[i:]
		}
		if err != nil || c.argv != nil {
			break
		}
	}
	if err == nil && (c.unit == "" || c.onActive <= 0 || len(c.argv) == 0) {
		err = fmt.Errorf("systemd-run: the lab needs --unit, --on-active and a command")
	}
	return c, err
}

// timeSpan parses a time span of systemd.time(7), as far as the lab needs it: a
// number without unit is seconds.
func timeSpan(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(strings.ReplaceAll(text, "min", "m"))
	if err != nil || d < 0 {
		//lint:ignore ST1005 this is systemd's message
		return 0, fmt.Errorf("Failed to parse timer value: %s", text)
	}
	return d, nil
}

func (d *systemd) systemdRun(args []string) reply {
	c, err := parseSystemdRun(args)
	if err != nil {
		return fail(1, "%v", err)
	}
	if message, ok := d.faults.get(faultTimerFails); ok {
		return fail(1, "%s", message)
	}
	name := c.unit + ".timer"
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return fail(1, "Failed to connect to bus: Connection refused")
	}
	if d.timers[name] != nil {
		return fail(1, "Failed to start transient timer unit: Unit %s was already loaded or has a fragment file.", name)
	}
	if d.faults.has(faultTimerDead) {
		return reply{}
	}
	t := &timer{argv: c.argv, repeat: c.repeat}
	t.clock = time.AfterFunc(c.onActive, func() { d.elapse(name, t) })
	d.timers[name] = t
	return reply{}
}

// elapse starts the service, unless it still runs, and schedules the next turn.
func (d *systemd) elapse(name string, t *timer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timers[name] != t || d.ctx.Err() != nil {
		return // stopped in the meantime
	}
	if t.repeat > 0 {
		t.clock.Reset(t.repeat)
	} else {
		t.elapsed = true
	}
	if t.running {
		return
	}
	t.running = d.tasks.Go(func() {
		d.runTimed(d.ctx, t.argv)
		d.mu.Lock()
		defer d.mu.Unlock()
		t.running = false
		if t.elapsed && d.timers[name] == t {
			delete(d.timers, name)
		}
	})
}

// stopTimer stops a timer, but not a service that it has started already.
func (d *systemd) stopTimer(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.timers[name]
	if t == nil {
		return false
	}
	t.clock.Stop()
	delete(d.timers, name)
	return true
}

// Timers returns the names of the machine's active transient timers.
func (m *Machine) Timers() []string {
	d := m.systemd()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.timers))
}
