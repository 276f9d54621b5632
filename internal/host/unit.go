package host

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Unit is the state of the agent's unit, from `systemctl show`.
type Unit struct {
	ID                                                  string // its own name, also if the inventory has an alias; "": unknown
	Type, Load, Active, Sub, File, InvocationID, Result string
	Restarts                                            int
	Started                                             time.Time     // by the host's clock; zero: not running
	StopTime, StartTime                                 time.Duration // systemd's time-outs; 0: unknown, Endless: none
	User, Group                                         string        // as the unit names them; "": root, and the user's group
}

// Endless means no time-out (infinity in systemd.service(5)).
const Endless = time.Duration(math.MaxInt64)

func (f *found) unitState(clock time.Time, uptime time.Duration) Unit {
	u := Unit{Type: f.unit["Type"], Load: f.unit["LoadState"], Active: f.unit["ActiveState"], Sub: f.unit["SubState"],
		File: f.unit["UnitFileState"],
		User: f.unit["User"], Group: f.unit["Group"],
		InvocationID: f.unit["InvocationID"], Result: f.unit["Result"],
		StopTime: parseSpan(f.unit["TimeoutStopUSec"]), StartTime: parseSpan(f.unit["TimeoutStartUSec"])}
	if id := f.unit["Id"]; ownName.MatchString(id) {
		u.ID = id
	}
	u.Restarts, _ = strconv.Atoi(f.unit["NRestarts"])
	// Microseconds since boot (org.freedesktop.systemd1(5)).
	if us, err := strconv.ParseInt(f.unit["ExecMainStartTimestampMonotonic"], 10, 64); err == nil && us > 0 && u.Active == "active" {
		u.Started = encodable(clock.Add(time.Duration(us)*time.Microsecond - uptime))
	}
	return u
}

// ownName matches the names that host.sh accepts for a unit.
var ownName = regexp.MustCompile(`^[A-Za-z0-9:_@\\][A-Za-z0-9:_.@\\-]{0,246}\.service$`)

// spanUnits are the units of a time span in the output of systemctl(1).
var spanUnits = map[string]time.Duration{
	"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// parseSpan parses a time span such as "1min 30.5s". It returns Endless for very long
// ones, 0 for an invalid one.
func parseSpan(text string) time.Duration {
	var span time.Duration
	for _, word := range strings.Fields(text) {
		number := strings.TrimRight(word, "abcdefghijklmnopqrstuvwxyz")
		unit, known := spanUnits[word[len(number):]]
		n, err := strconv.ParseFloat(number, 64)
		switch {
		case word == "infinity", !known && err == nil: // months, years
			return Endless
		case err != nil || !(n >= 0): // NaN is a number to ParseFloat
			return 0
		case n*unit.Seconds() > 1e8 || span > Endless/4:
			return Endless
		}
		span += time.Duration(n * float64(unit))
	}
	return span
}

// Runs reports whether the main process runs. A unit with RemainAfterExit=yes is also
// active without it.
func (u Unit) Runs() bool { return u.Active == "active" && u.Sub != "exited" }

// Oneshot returns why a unit of Type=oneshot can't be rotated; nil for other types.
func (u Unit) Oneshot(name string) *problem.Error {
	if u.Type != "oneshot" {
		return nil
	}
	return &problem.Error{Class: problem.Configuration,
		Message: name + " is Type=oneshot: whether the agent runs is unknown",
		Hint:    "set agent.unit to the unit that runs the agent"}
}

// RestartTime returns systemd's limit on a restart of the unit; 0 if it is unknown. The
// start of a unit that does not report that it is ready takes no time.
func (u Unit) RestartTime() time.Duration {
	switch u.Type {
	case "simple", "exec", "idle":
		return u.StopTime
	}
	return sum(u.StopTime, u.StartTime)
}

func sum(a, b time.Duration) time.Duration {
	if a == Endless || b == Endless {
		return Endless
	}
	return a + b
}

// SlowProblem returns a problem if systemd allows a restart of the unit more time than
// health.timeout, and nil otherwise. A rotation might then be undone although the agent
// would have started.
func (u Unit) SlowProblem(name string, timeout time.Duration) *problem.Error {
	takes := u.RestartTime()
	if takes <= timeout {
		return nil
	}
	p := &problem.Error{Class: problem.Configuration,
		Message: "a restart of " + name + " may take " + takes.String() + ", longer than health.timeout (" + timeout.String() + ")",
		Hint:    "set health.timeout to " + takes.String() + " or more"}
	if takes == Endless {
		p.Message = "a restart of " + name + " has no time-out, and health.timeout is " + timeout.String()
		p.Hint = "set TimeoutStopSec= and TimeoutStartSec= in the unit to less than health.timeout"
	}
	return p
}

// ProcessIsOlder reports whether the running agent started before the last change of the
// file, so that it may still use another certificate. The kernel stamps files with a
// coarse clock that lags by up to one tick (10 ms).
func (o *Observation) ProcessIsOlder() bool {
	return !o.Unit.Started.IsZero() && !o.File.Changed.IsZero() && o.File.Changed.Sub(o.Unit.Started) > 50*time.Millisecond
}
