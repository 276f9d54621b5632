package fleet

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Scanned is a host with its keys, or why they are unknown.
type Scanned struct {
	Host  inventory.Host
	Keys  []remote.HostKey
	Added int // keys written to known_hosts
	Err   error
}

// Has reports whether a key of the host is in one of these states.
func (s Scanned) Has(states ...remote.KeyState) bool { return s.count(states...) > 0 }

// Suspect reports whether a key of the host has changed or is revoked.
func (s Scanned) Suspect() bool { return s.Has(remote.KeyChanged, remote.KeyRevoked) }

// New returns how many keys of the host AddHostKeys would add; 0 if one is suspect.
func (s Scanned) New() int {
	if s.Suspect() {
		return 0
	}
	return s.count(remote.KeyNew)
}

func (s Scanned) count(states ...remote.KeyState) int {
	n := 0
	for _, k := range s.Keys {
		if slices.Contains(states, k.State) {
			n++
		}
	}
	return n
}

// ScanHostKeys gets the keys of every target without logging in, many at once.
func (f *Fleet) ScanHostKeys(ctx context.Context) []Scanned {
	f.caller.Contact(len(f.Targets))
	scans := make([]Scanned, len(f.Targets))
	f.part("scan")
	var work errgroup.Group
	work.SetLimit(atOnce)
	for i, t := range f.Targets {
		work.Go(func() error {
			f.event(rollout.Event{Host: t.Host.Name, Step: "scan"})
			keys, err := f.dialer.ScanHostKeys(ctx, f.target(*t.Host))
			scans[i] = Scanned{Host: *t.Host, Keys: keys, Err: err}
			f.event(rollout.Event{Host: t.Host.Name, Problem: problem.As(err)})
			return nil
		})
	}
	_ = work.Wait() // the functions return nil; a scan has its error
	return scans
}

// AddHostKeys writes the new keys to known_hosts and sets Added and Err of scans. It returns
// how many were added, and an error for each host for which that failed.
func (f *Fleet) AddHostKeys(scans []Scanned) (added int, failed []error) {
	for i := range scans {
		s := &scans[i]
		if s.Err != nil {
			continue
		}
		if s.Added, s.Err = f.dialer.AddHostKeys(f.target(s.Host), s.Keys); s.Err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.Host.Name, s.Err))
		}
		added += s.Added
	}
	return added, failed
}
