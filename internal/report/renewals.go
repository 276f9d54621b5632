package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/renew"
)

// Renewal is one certificate of the inventory in the document of `renew`.
type Renewal struct {
	Source  string         `json:"source"`
	Hosts   []string       `json:"hosts"`       // that were checked
	Unseen  []string       `json:"not_checked"` // hosts
	EndsAt  *time.Time     `json:"ends_at"`     // null: a host has no certificate
	Done    []string       `json:"done"`        // the steps of this run before the rotation
	Next    []string       `json:"next"`        // the steps that are left, with a rotation that this run has made
	Old     *Certificate   `json:"old"`         // what the source had before
	New     *Certificate   `json:"new"`         // what it has, or is to have
	Retired []string       `json:"retired"`     // thumbprints
	Error   *problem.Error `json:"error"`       // why it stopped; null: it did not
}

// RenewalsOf returns the certificates of a renewal.
func RenewalsOf(r *renew.Renewal) []Renewal {
	list := []Renewal{}
	for _, c := range r.Certificates {
		next := r.Next(c)
		item := Renewal{Source: display.MaskLines(c.Source), Hosts: []string{}, Unseen: append([]string{}, c.Unseen...), Done: []string{},
			Next: append([]string{}, next.Path()...), Old: certificateOf(c.Old), New: certificateOf(newest(c)), Retired: append([]string{}, c.Retired...), Error: next.Problem}
		for _, l := range c.Live {
			item.Hosts = append(item.Hosts, l.Hosts...)
		}
		if end := c.Ends(); !end.IsZero() {
			item.EndsAt = &end
		}
		for _, kind := range c.Done {
			item.Done = append(item.Done, kind.String())
		}
		list = append(list, item)
	}
	return list
}

func newest(c *renew.Certificate) *certificate.Info {
	if c.Next != nil {
		return c.Next
	}
	return c.Named
}

// RenewalPlan prints the steps that are left for each certificate, those that stopped last,
// and one line where nothing is to be done.
func RenewalPlan(w io.Writer, r *renew.Renewal, now time.Time) {
	var stopped []string
	quiet := true
	for _, c := range r.Certificates {
		switch next := r.Next(c); {
		case next.Problem != nil:
			stopped = append(stopped, "stopped: "+c.Name()+": "+next.Problem.Message+"\n")
			if next.Problem.Hint != "" {
				stopped = append(stopped, "hint: "+next.Problem.Hint+"\n")
			}
		case next.Kind != renew.Nothing:
			quiet = false
			fmt.Fprintf(w, "renew %s on %s, %s: %s\n", c.Name(), inventory.HostCount(c.Hosts()), until(c.Ends(), now), strings.Join(next.Path(), ", "))
		}
	}
	if quiet && stopped == nil {
		fmt.Fprintf(w, "nothing to renew: %s\n", soonest(r, now))
	}
	fmt.Fprint(w, strings.Join(stopped, ""))
	if unseen := r.Unseen(); len(unseen) > 0 {
		fmt.Fprintf(w, "not checked: %s: %s\n", inventory.HostCount(len(unseen)), all.hosts(unseen))
	}
}

// soonest returns how many certificates there are, and when the first ends.
func soonest(r *renew.Renewal, now time.Time) string {
	var ends []time.Time
	n := 0
	for _, c := range r.Certificates {
		n += c.Hosts()
		if len(c.Live) > 0 {
			ends = append(ends, c.Ends())
		}
	}
	text := "1 certificate"
	if len(r.Certificates) != 1 {
		text = fmt.Sprintf("%d certificates", len(r.Certificates))
	}
	text += " on " + inventory.HostCount(n)
	if len(ends) > 0 {
		text += ", " + until(slices.MinFunc(ends, time.Time.Compare), now)
	}
	return text
}

func until(end, now time.Time) string {
	if end.IsZero() {
		return "without a certificate"
	}
	return fmt.Sprintf("until %s (%d days left)", end.Format(time.DateOnly), certificate.DaysLeft(end, now))
}
