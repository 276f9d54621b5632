package report

import (
	"io"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// writeWindows prints when the hosts to change may begin, where the inventory has windows or
// freezes.
func (v View) writeWindows(w io.Writer, p *rollout.Plan) {
	hosts, order := map[string][]string{}, []string{}
	for _, e := range p.Entries {
		text := windowText(e.Window)
		if e.Outcome != "" || text == "" {
			continue
		}
		if hosts[text] == nil {
			order = append(order, text)
		}
		hosts[text] = append(hosts[text], e.Host.Name)
	}
	for _, text := range order {
		v.print(w, "window: ", 4, text+": "+v.hosts(hosts[text]))
	}
}

// windowText returns when a host may begin, "" if it is open without an end or was not asked.
func windowText(o inventory.Opening) string {
	switch {
	case o.Open && !o.Until.IsZero():
		return "open until " + rollout.Moment(o.Until)
	case !o.Open && !o.Next.IsZero():
		return "closed, opens " + rollout.Moment(o.Next)
	}
	return ""
}

// windowTimes returns when a window opens or closes, for the document.
func windowTimes(o inventory.Opening) (opens, closes *time.Time) {
	if next, until := o.Next.UTC(), o.Until.UTC(); o.Open && !until.IsZero() {
		return nil, &until
	} else if !o.Open && !next.IsZero() {
		return &next, nil
	}
	return nil, nil
}
