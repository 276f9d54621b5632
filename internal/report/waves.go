package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// maxWaves is how many waves a plan shows one by one.
const maxWaves = 8

// writeWaves prints the hosts of each wave and what limits its pace. It prints nothing for
// a single wave without such a limit.
func writeWaves(w io.Writer, p *rollout.Plan) {
	if len(p.Waves) == 0 || len(p.Waves) == 1 && !p.Waves[0].Canary && p.Pace(p.Waves[0]) == "" {
		return
	}
	for n, wave := range p.Waves {
		if n == maxWaves-1 && len(p.Waves) > maxWaves {
			writeOtherWaves(w, p, n)
			return
		}
		label := fmt.Sprintf("wave %d", n+1)
		if wave.Canary {
			label += " (canary)"
		}
		fmt.Fprintf(w, "%s: %s", label, inOrder(waveHosts(p, wave)))
		if why := p.Pace(wave); why != "" {
			fmt.Fprintf(w, "; %s", why)
		}
		fmt.Fprintln(w)
	}
}

// writeOtherWaves prints the waves from index n on in one line.
func writeOtherWaves(w io.Writer, p *rollout.Plan, n int) {
	var rest rollout.Wave
	for _, wave := range p.Waves[n:] {
		rest.Hosts = append(rest.Hosts, wave.Hosts...)
	}
	fmt.Fprintf(w, "waves %d to %d: %s", n+1, len(p.Waves), inOrder(waveHosts(p, rest)))
	if why := p.Pace(rest); why != "" {
		fmt.Fprintf(w, "; %s", why)
	}
	fmt.Fprintln(w)
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
			text += fmt.Sprintf(", soaking for %s between them", short(p.Policy.Soak))
		}
	}
	return text
}

// short returns d without zero seconds and minutes: 2m0s as 2m.
func short(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// SoFar prints the results of a run up to the end of a wave, counted from 1: failures last,
// then the totals.
func SoFar(w io.Writer, r *rollout.Run, p *rollout.Plan, wave int) {
	var g grouped
	done := &rollout.Run{}
	for _, res := range r.Results {
		if res.Outcome != "" {
			g.add(string(res.Outcome), weight(res.Outcome), res.Host.Name, because(res)...)
			done.Results = append(done.Results, res)
		}
	}
	g.write(w)
	name := fmt.Sprintf("wave %d of %d", wave, len(p.Waves))
	if p.Waves[wave-1].Canary {
		name += " (canary)"
	}
	fmt.Fprintf(w, "after %s: %s\n", name, Totals(done))
}
