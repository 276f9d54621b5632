package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Kind is what is wrong with an agent. Who asks for a verdict decides by it what to do.
type Kind int

// The kinds of findings.
const (
	Healthy       Kind = iota
	Stopped            // the unit is inactive
	Failing            // the unit has failed, or is in another state in which nothing runs
	Exited             // the unit is active, its main process has exited (RemainAfterExit=yes)
	Restarting         // the agent has exited, and systemd is about to start it again
	Restarted          // the agent runs, but systemd has started it again after an exit
	Settling           // the unit is activating or deactivating
	Reloading          // the agent runs, and reads its configuration again
	Denied             // the log says that the agent is refused
	NotListening       // nothing listens on the port that the agent's configuration names
	CommandFailed      // the user's own health.command says no
)

// Finding is one thing that keeps an agent from being healthy. Message says what, and
// calls it "the agent".
type Finding struct {
	Kind    Kind
	Message string
}

// Verdict is all that is wrong with an agent, in the order in which it was judged. An
// empty one is that of a healthy agent.
type Verdict []Finding

// First returns what was judged first; its Kind is Healthy where nothing is wrong.
func (v Verdict) First() Finding {
	if len(v) == 0 {
		return Finding{}
	}
	return v[0]
}

// Cause returns the finding to report: a denied line before all others, because it says
// why the agent does not run. Its Kind is Healthy where nothing is wrong.
func (v Verdict) Cause() Finding {
	if i := slices.IndexFunc(v, func(f Finding) bool { return f.Kind == Denied }); i >= 0 {
		return v[i]
	}
	return v.First()
}

// Without returns the verdict of who does not care for findings of these kinds.
func (v Verdict) Without(kinds ...Kind) Verdict {
	return slices.DeleteFunc(slices.Clone(v), func(f Finding) bool { return slices.Contains(kinds, f.Kind) })
}

// Rules are what those who ask for a verdict judge differently, and why. What else they
// leave out is said where they do: a plan acts on what a new certificate or a restart may
// cure, so it does not look at the port; a soak bears an agent that is Reloading. The watch
// after a restart (look in script/04-health.sh) also judges what an observation can't know:
// that another process runs than before, and the lines that health.expect wants of it.
type Rules struct {
	// Window is how long a restart by systemd counts; negative: for ever.
	Window time.Duration
	// Known: lines like the denied ones stood in the log before the rotation.
	Known bool
	// Thumbprint of the new certificate; a line that names it counts also where such
	// lines are Known.
	Thumbprint string
}

// AsFound are the rules for an agent of which nothing else is known. A restart by systemd
// counts for health.window: between two exits an agent in a loop looks healthy, and one
// that has exited once, weeks ago, is.
func AsFound(h inventory.Health) Rules { return Rules{Window: h.Window} }

// SinceWatch are the rules for an agent that a watch has found healthy with the certificate
// of that thumbprint. A restart by systemd counts at any time: the watch has seen none. A
// denied line does not count where such lines are known from before the rotation, unless it
// names the certificate; the watch judges likewise.
func SinceWatch(known bool, thumbprint string) Rules {
	return Rules{Window: -1, Known: known, Thumbprint: thumbprint}
}

// Health judges the agent by what was seen of it. It is the one verdict, which the watch
// on the host gives by the same rules, in the same order (script/04-health.sh). Port and
// command are judged only of an agent that runs.
func (o *Observation) Health(r Rules) Verdict {
	var v Verdict
	for _, judge := range []func(Rules) Finding{o.stateFinding, o.restartFinding, o.logFinding, o.portFinding, o.commandFinding} {
		if f := judge(r); f.Kind != Healthy {
			v = append(v, f)
		}
	}
	return v
}

// stateFinding judges what systemd says of the unit.
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

// restartFinding judges restarts by systemd. A start by an operator sets their number to 0.
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

// logFinding judges a line in which the agent is refused.
func (o *Observation) logFinding(r Rules) Finding {
	if o.Denied == "" || r.Known && !strings.Contains(strings.ToUpper(o.Denied), r.Thumbprint) {
		return Finding{}
	}
	return Finding{Denied, "the log says: " + o.Denied}
}

// portFinding judges the port of an MCC EDR source.
func (o *Observation) portFinding(Rules) Finding {
	if !o.Unit.Runs() || !o.PortClosed {
		return Finding{}
	}
	return Finding{NotListening, fmt.Sprintf("nothing listens on port %d", o.Config.ListenerPort)}
}

// commandFinding judges by the user's own command.
func (o *Observation) commandFinding(Rules) Finding {
	if !o.Unit.Runs() || o.Command == "" {
		return Finding{}
	}
	return Finding{CommandFailed, o.Command}
}

// portClosed tells whether nothing listens on the port that the agent's configuration
// names, as far as the host tells on which ports something does (observe_health in
// script/04-health.sh). A helper of an earlier version does not.
func (f *found) portClosed(config AgentConfig) bool {
	open, told := f.fields["listening"]
	if !told || config.ListenerPort == 0 {
		return false
	}
	return !slices.ContainsFunc(strings.Fields(open), func(digits string) bool {
		port, err := strconv.ParseUint(digits, 16, 16)
		return err == nil && int(port) == config.ListenerPort
	})
}
