package host

import (
	"slices"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

func TestHealth(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	asFound, sinceWatch := AsFound(inventory.Health{Window: 15 * time.Second}), SinceWatch(false, "AB")
	known := SinceWatch(true, "AB")
	restarted := func(age time.Duration) func(*Observation) {
		return func(o *Observation) { o.Unit.Restarts, o.Unit.Started = 1, now.Add(-age) }
	}
	for name, c := range map[string]struct {
		change func(*Observation)
		rules  Rules
		kinds  []Kind
		cause  Kind
	}{
		"healthy":                {func(*Observation) {}, asFound, nil, Healthy},
		"stopped":                {func(o *Observation) { o.Unit.Active, o.Unit.Sub = "inactive", "dead" }, asFound, []Kind{Stopped}, Stopped},
		"failed":                 {func(o *Observation) { o.Unit.Active = "failed" }, asFound, []Kind{Failing}, Failing},
		"in an unknown state":    {func(o *Observation) { o.Unit.Active = "maintenance" }, asFound, []Kind{Failing}, Failing},
		"main process gone":      {func(o *Observation) { o.Unit.Sub = "exited" }, asFound, []Kind{Exited}, Exited},
		"in a loop":              {func(o *Observation) { o.Unit.Active, o.Unit.Sub = "activating", "auto-restart" }, asFound, []Kind{Restarting}, Restarting},
		"in a loop, running":     {func(o *Observation) { restarted(14 * time.Second)(o) }, asFound, []Kind{Restarted}, Restarted},
		"exited once, then well": {restarted(15 * time.Second), asFound, nil, Healthy},
		"exited, no window":      {restarted(time.Second), AsFound(inventory.Health{}), nil, Healthy},
		"exited since the watch": {restarted(time.Hour), sinceWatch, []Kind{Restarted}, Restarted},
		"starting":               {func(o *Observation) { o.Unit.Active = "activating" }, asFound, []Kind{Settling}, Settling},
		"stopping":               {func(o *Observation) { o.Unit.Active = "deactivating" }, asFound, []Kind{Settling}, Settling},
		"reloading":              {func(o *Observation) { o.Unit.Active = "reloading" }, asFound, []Kind{Reloading}, Reloading},
		"denied":                 {func(o *Observation) { o.Denied = "AADSTS1" }, asFound, []Kind{Denied}, Denied},
		"denied, and failed":     {func(o *Observation) { o.Denied, o.Unit.Active = "AADSTS1", "failed" }, asFound, []Kind{Failing, Denied}, Denied},
		"denied as before":       {func(o *Observation) { o.Denied = "AADSTS1" }, known, nil, Healthy},
		"denied by name":         {func(o *Observation) { o.Denied = "AADSTS1 ab" }, known, []Kind{Denied}, Denied},
		"denied, no certificate": {func(o *Observation) { o.Denied = "AADSTS1" }, SinceWatch(true, ""), nil, Healthy},
		"port and command":       {func(o *Observation) { o.PortClosed, o.Command = true, "no" }, asFound, []Kind{NotListening, CommandFailed}, NotListening},
		"port of a stopped one":  {func(o *Observation) { o.PortClosed, o.Command, o.Unit.Active = true, "no", "inactive" }, asFound, []Kind{Stopped}, Stopped},
	} {
		o := &Observation{Clock: now, Unit: Unit{Active: "active", Sub: "running", Started: now.Add(-time.Hour)}}
		c.change(o)
		v := o.Health(c.rules)
		var kinds []Kind
		for _, f := range v {
			if kinds = append(kinds, f.Kind); f.Message == "" {
				t.Errorf("%s: no message", name)
			}
		}
		if !slices.Equal(kinds, c.kinds) || v.Cause().Kind != c.cause || len(v.Without(kinds...)) > 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestPortClosed: a port counts as closed only if the host reports its ports.
func TestPortClosed(t *testing.T) {
	edr := AgentConfig{ListenerPort: 36001}
	for text, want := range map[string]bool{
		"":                           false,
		"observed=yes":               false,
		"listening=":                 true,
		"listening=0016 8CA1 ":       false,
		"listening=0016 8ca2":        true,
		"listening=zz 18CA1 -8CA1 x": true,
	} {
		if got := parseFound([]byte(text)).portClosed(edr); got != want {
			t.Errorf("%q: %v", text, got)
		}
		if parseFound([]byte(text)).portClosed(AgentConfig{}) {
			t.Errorf("%q: closed, without a port", text)
		}
	}
}
