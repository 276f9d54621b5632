package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// randomWindows returns windows that open and close soon, of some sites or of all hosts.
func (s *sim) randomWindows() []inventory.Window {
	rnd := s.rnd
	var text strings.Builder
	text.WriteString("version: 1\nhosts: {a: {labels: {site: s0}}, b: {labels: {site: s1}}}\nrollout:\n  windows:\n")
	for range 1 + rnd.IntN(2) {
		zone := []string{"UTC", "Asia/Kathmandu", "America/New_York"}[rnd.IntN(3)]
		at, err := time.LoadLocation(zone)
		if err != nil {
			s.t.Fatal(err)
		}
		from := time.Now().In(at).Add(randomTime(rnd, 40*time.Minute) - 30*time.Minute)
		to := from.Add(time.Minute + randomTime(rnd, 40*time.Minute))
		label := []string{"", "label: site=s0, ", "label: site=s*, "}[rnd.IntN(3)]
		fmt.Fprintf(&text, "    - {%sfrom: %q, to: %q, zone: %s}\n", label, from.Format("15:04"), to.Format("15:04"), zone)
	}
	inv, err := inventory.Parse("sim.yaml", []byte(text.String()), inventory.Env{User: "u", Home: "/home/u"})
	if err != nil {
		s.t.Fatal(err)
	}
	return inv.Rollout.Windows
}

// outside reports whether the host may not begin at a time, by the texts of its windows.
func (v *simVM) outside(at time.Time) bool {
	p := v.sim.plan.Policy
	if p.IgnoreWindow != "" {
		return false
	}
	open, has := false, false
	for _, w := range p.Windows {
		site := v.target.Host.Labels["site"]
		if w.Label == "site=s0" && site != "s0" || w.Label == "site=s*" && site == "" {
			continue
		}
		has = true
		now := at.In(w.Zone).Format("15:04")
		span := strings.Fields(w.String()) // [label] daily 22:00-05:00 zone
		from, to, _ := strings.Cut(span[len(span)-2], "-")
		open = open || from <= now && now < to || from >= to && (now >= from || now < to)
	}
	return has && !open
}
