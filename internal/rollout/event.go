package rollout

import (
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Event is a change of a host's state, for the progress display and the journal.
// Outcome is set when the host has ended; a later event may set a worse one. An event
// without a Host starts a part of the run, with Hosts: "observe", "stage", "connect",
// "recover", "wave", "soak", "undo", "download", "diagnose", "visit"; "verify" has no hosts.
type Event struct {
	Host    string
	Step    string // observe, stage, then those of host.sh; "" when none runs
	Outcome Outcome
	Problem *problem.Error // of an outcome, or of a check that failed
	Proof   string
	// Done and Total are the bytes of a "download", without a Step it is complete; or the
	// questions of "verify".
	Done, Total int64
	// Lasts is how long a "soak" lasts, the soak after a "wave", and a "watch" at least.
	Lasts       time.Duration
	Hosts       []*inventory.Host // of the part that starts; shared, never changed
	Wave, Waves int               // the number of a "wave" or "soak", and of all
}

// step returns the event of a step that starts on a host.
func step(h *inventory.Host, name string) Event {
	e := Event{Host: h.Name, Step: name}
	if name == "watch" {
		e.Lasts = h.Health.Window
	}
	return e
}

// part announces a part of the run and its hosts.
func (r *Runner) part(name string, hosts []*inventory.Host) {
	r.Events(Event{Step: name, Hosts: hosts})
}

func hostsOf(targets []Target) []*inventory.Host {
	hosts := make([]*inventory.Host, len(targets))
	for i, t := range targets {
		hosts[i] = t.Host
	}
	return hosts
}

func (a *apply) hosts(list []int) []*inventory.Host {
	hosts := make([]*inventory.Host, len(list))
	for n, i := range list {
		hosts[n] = a.run.Results[i].Host
	}
	return hosts
}

// staging returns the name of the part before the first wave: "stage", or "connect" if no
// host needs a file.
func (p *Plan) staging() string {
	if slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.Outcome == "" && e.stages() }) {
		return "stage"
	}
	return "connect"
}

// lastWave returns the number of the last wave.
func (p *Plan) lastWave() int { return p.Waves[len(p.Waves)-1].Number }
