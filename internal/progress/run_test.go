package progress

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// noon is when the runs of these tests begin.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// timed is an event that happens some time after noon.
type timed struct {
	after time.Duration
	event rollout.Event
}

// site is a group of hosts.
type site struct {
	name  string
	hosts int
}

var (
	twelve       = []site{{"london", 6}, {"paris", 6}}
	threeHundred = []site{{"london", 100}, {"paris", 80}, {"madrid", 60}, {"oslo", 40}, {"riga", 20}}
)

func hostsOf(sites []site) (list []*inventory.Host) {
	for _, s := range sites {
		for i := range s.hosts {
			list = append(list, &inventory.Host{Name: fmt.Sprintf("%s-sftp-%03d", s.name, i+1), Group: s.name})
		}
	}
	return list
}

var refusedByEntra = &problem.Error{Class: problem.Unhealthy, Message: "the log says: 2026-11-23T12:00:30Z ERROR az_aoi_ingestion::secrets: " +
	"Failed to authenticate: AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application."}

// rotation returns the events of a rotation: a check, staging, and waves of these sizes, some
// hosts at once. A host takes about 20 s. Some fail.
func rotation(hosts []*inventory.Host, parallel int, soak time.Duration, sizes ...int) []timed {
	var list []timed
	at := func(after time.Duration, e rollout.Event) { list = append(list, timed{after, e}) }
	at(0, rollout.Event{Step: "observe", Hosts: hosts})
	at(4*time.Second, rollout.Event{Step: "stage", Hosts: hosts})
	for _, h := range hosts {
		at(4*time.Second, rollout.Event{Host: h.Name, Step: "stage"})
		at(5*time.Second, rollout.Event{Host: h.Name})
	}
	start := 6 * time.Second
	for n, size := range sizes {
		wave := rollout.Event{Step: "wave", Wave: n + 1, Waves: len(sizes), Lasts: soak, Hosts: hosts[:size]}
		hosts = hosts[size:]
		at(start, wave)
		free := make([]time.Duration, parallel)
		for i := range free {
			free[i] = start
		}
		for i, h := range wave.Hosts {
			slot := slices.Index(free, slices.Min(free))
			free[slot] = transaction(at, h.Name, free[slot]+time.Duration(i%3)*400*time.Millisecond, i)
		}
		if start = slices.Max(free); n < len(sizes)-1 && soak > 0 {
			wave.Step = "soak"
			at(start, wave)
			start += soak
		}
	}
	slices.SortStableFunc(list, func(a, b timed) int { return cmp.Compare(a.after, b.after) })
	return list
}

// transaction adds the events of one host, and returns when it ends.
func transaction(at func(time.Duration, rollout.Event), name string, start time.Duration, i int) time.Duration {
	end, outcome := start+19*time.Second, rollout.Event{Host: name, Outcome: rollout.Rotated}
	step := func(after time.Duration, e rollout.Event) {
		if e.Host = name; start+after < end {
			at(start+after, e)
		}
	}
	switch {
	case i%23 == 2:
		step(7*time.Second, rollout.Event{Step: "undo"})
		outcome.Outcome, outcome.Problem = rollout.RolledBack, refusedByEntra
	case i%37 == 5:
		end = start + time.Second
		outcome.Outcome, outcome.Problem = rollout.Unreachable, &problem.Error{Class: problem.Unreachable, Message: "10.20.0.17:22: connection refused"}
	case i%61 == 30:
		outcome.Outcome, outcome.Problem = rollout.Failed, &problem.Error{Class: problem.Unhealthy, Message: "az-aoi-ingestion.service is failed after the undo"}
	}
	for n, name := range []string{"rotate", "lock", "check", "backup", "arm", "swap", "restart"} {
		step(time.Duration(n)*300*time.Millisecond, rollout.Event{Step: name})
	}
	step(3500*time.Millisecond, rollout.Event{Step: "watch", Lasts: 15 * time.Second})
	at(end, outcome)
	return end
}

// modelAfter returns the state some time after noon.
func modelAfter(after time.Duration, events []timed) (*Model, time.Time) {
	m := &Model{Title: "rotate"}
	for _, e := range events {
		if e.after <= after {
			m.Update(e.event, noon.Add(e.after))
		}
	}
	return m, noon.Add(after)
}
