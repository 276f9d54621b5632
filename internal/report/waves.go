package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// maxWaves is how many waves a plan shows one by one.
const maxWaves = 8

// writeWaves prints the hosts of each wave. It prints nothing for a single wave.
func (v View) writeWaves(w io.Writer, p *rollout.Plan) {
	if proven := p.Proven(); proven != nil {
		v.print(w, "canary: ", 4, v.hosts(waveHosts(p, rollout.Wave{Hosts: proven}))+": changed by an earlier run, and healthy since")
	} else if len(p.Waves) == 0 || len(p.Waves) == 1 && !p.Waves[0].Canary && p.Waves[0].Number == 1 {
		return
	}
	for n, wave := range p.Waves {
		label := fmt.Sprintf("wave %d", wave.Number)
		switch last := p.Waves[len(p.Waves)-1].Number; {
		case wave.Canary:
			label += " (canary)"
		case n == maxWaves-1 && len(p.Waves) > maxWaves:
			label = fmt.Sprintf("waves %d to %d", wave.Number, last)
			for _, rest := range p.Waves[n+1:] {
				wave.Hosts = slices.Concat(wave.Hosts, rest.Hosts)
			}
		case n >= maxWaves && len(p.Waves) > maxWaves:
			return
		}
		v.print(w, label+": ", 4, v.inOrder(waveHosts(p, wave)))
	}
}

// writeCourse prints how a plan with changes proceeds: the order, what stops it, and how
// long it takes.
func (v View) writeCourse(w io.Writer, p *rollout.Plan) {
	changes := p.Changes()
	if changes == 0 {
		return
	}
	if changes > 1 {
		v.print(w, "order: ", 4, fmt.Sprintf("that of the inventory, %d at a time%s", p.Policy.Parallel, limitText(p)))
		v.print(w, "budget: ", 4, budgetText(p))
	}
	if v.Cost.Turn > 0 { // a saved plan does not have what it follows from
		v.print(w, "duration: ", 4, durationText(p, v.Cost))
	}
}

// limitText says how many hosts of a failure domain restart at once, and why.
func limitText(p *rollout.Plan) string {
	switch l := p.Limit(); {
	case l.Label != "":
		return fmt.Sprintf("; at most %d of each %s at once (max_unavailable_per)", l.Count, l.Label)
	case offline(p):
		return "; those with an MCC EDR source one at a time in each group, unless max_unavailable_per is set"
	case l.Hosts > 0:
		of := "one at a time"
		if l.Domains > 1 {
			of += fmt.Sprintf(" in each of %d groups", l.Domains)
		}
		return fmt.Sprintf("; %s with an MCC EDR source %s: they drop records while they restart (max_unavailable_per sets another limit)", inventory.HostCount(l.Hosts), of)
	}
	return ""
}

// budgetText says after how many failures the run stops.
func budgetText(p *rollout.Plan) string {
	limit := p.Policy.MaxFailures.Of(len(p.Entries))
	if limit > len(p.Entries) {
		return "none: a host that fails does not stop the others"
	}
	text := "the run stops when " + failedCount(limit) + " failed (max_failures: " + p.Policy.MaxFailures.String() + ")"
	if limit > 1 && p.Waves != nil && p.Waves[0].Canary {
		text += ", or one of the canary"
	}
	return text
}

// installCost returns how much longer a turn takes with a package.
func installCost(p *rollout.Plan, cost rollout.Cost) time.Duration {
	if slices.ContainsFunc(p.Entries, func(e rollout.Entry) bool { return e.Outcome == "" && e.Package.Installs() }) {
		return cost.Install
	}
	return 0
}

// durationText says how long the run takes, and from what that follows.
func durationText(p *rollout.Plan, cost rollout.Cost) string {
	parts := []string{"each host"}
	if window := longestWindow(p); window > 0 {
		parts = append(parts, "is watched for "+Short(window)+" and")
	}
	source := "assumed"
	if cost.Measured {
		source = "as in earlier runs"
	}
	text := fmt.Sprintf("about %s, if no host fails (%s takes %s, %s", roughly(p.Estimate(cost)), strings.Join(parts, " "), Short((cost.Turn + installCost(p, cost)).Round(time.Second/10)), source)
	if n := p.Soaks(); n > 0 {
		text += fmt.Sprintf("; soaks: %d of %s", n, Short(p.Policy.Soak))
	}
	return text + ")"
}

func failedCount(n int) string {
	if n == 1 {
		return "1 host has"
	}
	return inventory.HostCount(n) + " have"
}

func longestWindow(p *rollout.Plan) (window time.Duration) {
	for _, e := range p.Entries {
		if e.Outcome == "" && e.Action != rollout.Rehearse {
			window = max(window, e.Host.Health.Window)
		}
	}
	return window
}

// roughly rounds d up: to 5 seconds below two minutes, then to minutes, from three hours on
// to a quarter of an hour.
func roughly(d time.Duration) string {
	unit := 5 * time.Second
	switch {
	case d >= 3*time.Hour:
		unit = 15 * time.Minute
	case d >= 2*time.Minute:
		unit = time.Minute
	}
	return Short((d + unit - 1).Truncate(unit))
}

func waveHosts(p *rollout.Plan, wave rollout.Wave) []string {
	names := make([]string, len(wave.Hosts))
	for i, n := range wave.Hosts {
		names[i] = p.Entries[n].Host.Name
	}
	return names
}

// pace returns the end of a plan's last line.
func pace(p *rollout.Plan) string {
	text := fmt.Sprintf("%d at a time", p.Policy.Parallel)
	if len(p.Waves) > 1 {
		text += fmt.Sprintf(", in %d waves", len(p.Waves))
		if p.Policy.Soak > 0 {
			text += fmt.Sprintf(", soaking for %s between them", Short(p.Policy.Soak))
		}
	}
	return text
}

// Short returns d without zero seconds and minutes: 2m0s as 2m.
func Short(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// SoFar prints the results of a run up to the end of a wave: failures last, then the totals.
func (v View) SoFar(w io.Writer, r *rollout.Run, p *rollout.Plan, wave int) {
	var g grouped
	done := &rollout.Run{}
	for _, res := range r.Results {
		if res.Outcome != "" {
			g.add(string(res.Outcome), weight(res.Outcome), res.Host.Name, because(res)...)
			done.Results = append(done.Results, res)
		}
	}
	g.write(w, v)
	name := fmt.Sprintf("wave %d of %d", wave, p.Waves[len(p.Waves)-1].Number)
	if wave == p.Waves[0].Number && p.Waves[0].Canary {
		name += " (canary)"
	}
	fmt.Fprintf(w, "after %s: %s\n", name, Totals(done))
}
