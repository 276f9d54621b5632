package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Kind is the kind of a finding. The caller decides by it what to do.
type Kind int

// The kinds of findings.
const (
	Healthy       Kind = iota
	Stopped            // the unit is inactive
	Failing            // the unit has failed, or is in another state in which nothing runs
	Exited             // the unit is active, its main process has exited (RemainAfterExit=yes)
	Restarting         // the agent has exited, and systemd is about to restart it
	Restarted          // the agent runs, but systemd has restarted it after an exit
	Settling           // the unit is activating or deactivating
	Reloading          // the agent runs, and rereads its configuration
	Denied             // the log has a denied line
	NotListening       // nothing listens on the port that the agent's configuration names
	CommandFailed      // health.command failed
)

// Finding is one reason why an agent is unhealthy. Message calls it "the agent".
type Finding struct {
	Kind    Kind
	Message string
}

// Verdict lists all findings about an agent, in the order of the rules. It is empty for a
// healthy agent.
type Verdict []Finding

// First returns the first finding; its Kind is Healthy if there is none.
func (v Verdict) First() Finding {
	if len(v) == 0 {
		return Finding{}
	}
	return v[0]
}

// Cause returns the finding to report: a denied line before all others, because it
// explains why the agent does not run. Its Kind is Healthy if there is no finding.
func (v Verdict) Cause() Finding {
	if i := slices.IndexFunc(v, func(f Finding) bool { return f.Kind == Denied }); i >= 0 {
		return v[i]
	}
	return v.First()
}

// Without returns the verdict without findings of these kinds.
func (v Verdict) Without(kinds ...Kind) Verdict {
	return slices.DeleteFunc(slices.Clone(v), func(f Finding) bool { return slices.Contains(kinds, f.Kind) })
}

// Rules are the rules that differ between callers. Callers ignore other findings where
// they have a reason: a plan acts on what a new certificate or a restart may fix, so it
// ignores the port; a soak accepts an agent that is Reloading. The watch after a restart
// (judge in script/04-health.sh) also checks what an observation can't know: that another
// process runs than before, and the lines of health.expect.
type Rules struct {
	// Window is how long a restart by systemd counts; negative: forever.
	Window time.Duration
	// Known is set if the log had such denied lines before the rotation.
	Known bool
	// Thumbprint is that of the new certificate; a line that names it always counts. "": only
	// other files are new.
	Thumbprint string
}

// AsFound returns the rules for an agent without history. A restart by systemd counts for
// health.window: between two exits an agent in a restart loop seems healthy, and one that
// exited once, weeks ago, is healthy.
func AsFound(h inventory.Health) Rules { return Rules{Window: h.Window} }

// SinceWatch returns the rules for an agent that a watch has found healthy with the
// certificate of that thumbprint. Any restart by systemd counts, because the watch has
// seen none. A denied line does not count if such lines are known from before the
// rotation, unless it names the certificate; the watch has the same rule.
func SinceWatch(known bool, thumbprint string) Rules {
	return Rules{Window: -1, Known: known, Thumbprint: thumbprint}
}

// Health returns the verdict on the agent. The watch on the host applies the same rules,
// in the same order (script/04-health.sh). Port and command count only if the agent runs.
func (o *Observation) Health(r Rules) Verdict {
	var v Verdict
	for _, judge := range []func(Rules) Finding{o.stateFinding, o.restartFinding, o.logFinding, o.portFinding, o.commandFinding} {
		if f := judge(r); f.Kind != Healthy {
			v = append(v, f)
		}
	}
	return v
}

// stateFinding judges the unit's state in systemd.
func (o *Observation) stateFinding(Rules) Finding {
	f := Finding{Message: "the agent is " + o.Unit.Active}
	switch {
	case o.Unit.Sub == "auto-restart":
		return Finding{Restarting, "the agent exits and is started again"}
	case o.Unit.Runs():
		return Finding{}
	case o.Unit.Active == "active":
		return Finding{Exited, "the agent's main process has exited"}
	case o.Unit.Active == "inactive":
		f.Kind = Stopped
	case o.Unit.Active == "activating", o.Unit.Active == "deactivating":
		f.Kind = Settling
	case o.Unit.Active == "reloading":
		f.Kind = Reloading
	default:
		f.Kind = Failing
	}
	return f
}

// restartFinding judges restarts by systemd. A start by an operator resets their number.
func (o *Observation) restartFinding(r Rules) Finding {
	switch {
	case o.Unit.Restarts == 0 || !o.Unit.Runs() || o.Unit.Sub == "auto-restart":
		return Finding{}
	case r.Window < 0:
		return Finding{Restarted, "the agent restarts by itself"}
	case o.Clock.IsZero() || o.Unit.Started.IsZero() || o.Clock.Sub(o.Unit.Started) >= r.Window:
		return Finding{}
	}
	return Finding{Restarted, "the agent has exited, and systemd has just started it again"}
}

// logFinding judges the last denied line.
func (o *Observation) logFinding(r Rules) Finding {
	names := r.Thumbprint != "" && strings.Contains(strings.ToUpper(o.Denied), r.Thumbprint)
	if o.Denied == "" || r.Known && !names {
		return Finding{}
	}
	return Finding{Denied, "the log says: " + o.Denied}
}

// portFinding judges the listener port of an MCC EDR source.
func (o *Observation) portFinding(Rules) Finding {
	if !o.Unit.Runs() || !o.PortClosed {
		return Finding{}
	}
	return Finding{NotListening, fmt.Sprintf("nothing listens on port %d", o.Config.ListenerPort)}
}

// commandFinding judges the result of health.command.
func (o *Observation) commandFinding(Rules) Finding {
	if !o.Unit.Runs() || o.Command == "" {
		return Finding{}
	}
	return Finding{CommandFailed, o.Command}
}

// portClosed reports whether nothing listens on the port in the agent's configuration. It
// is false if the host does not report its ports (observe_health in script/04-health.sh),
// as a helper of an earlier version.
func (f *found) portClosed(config AgentConfig) bool {
	open, known := f.fields["listening"]
	if !known || config.ListenerPort == 0 {
		return false
	}
	return !slices.ContainsFunc(strings.Fields(open), func(digits string) bool {
		port, err := strconv.ParseUint(digits, 16, 16)
		return err == nil && int(port) == config.ListenerPort
	})
}
