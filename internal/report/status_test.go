package report

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// status returns a Status in which certificates that expire within two days fail.
func status(entries ...rollout.Entry) *Status {
	return &Status{Entries: entries, Now: now, Expiring: 48 * time.Hour, Recover: []string{"aoifleet", "recover", "-i", "inventory.yaml"}}
}

// A status shows why the exit code is not 0, in JSON too.
func TestStatusError(t *testing.T) {
	for want, change := range map[string]func(*rollout.Entry){
		"": nil,
		"locked: run R of someone was interrupted (pending)": func(e *rollout.Entry) {
			e.Seen.Receipts = []host.Receipt{{State: "pending", Run: "R", Owner: "someone"}}
		},
		"unhealthy: the log says: AADSTS7":                      func(e *rollout.Entry) { e.Seen.Denied = "AADSTS7" },
		"agent_not_running: az-aoi-ingestion.service is failed": func(e *rollout.Entry) { e.Seen.Unit.Active = "failed" },
		"unhealthy: az-aoi-ingestion.service has exited, and systemd has just started it again": func(e *rollout.Entry) {
			h := *e.Host
			h.Health.Window = 15 * time.Second
			e.Host, e.Seen.Clock, e.Seen.Unit.Restarts, e.Seen.Unit.Started = &h, now, 1, now.Add(-14*time.Second)
		},
		"unhealthy: nothing listens on port 36001": func(e *rollout.Entry) {
			e.Seen.PortClosed, e.Seen.Config.ListenerPort = true, 36001
		},
		"unhealthy: health.command exited 7: stuck":     func(e *rollout.Entry) { e.Seen.Command = "health.command exited 7: stuck" },
		"certificate: the certificate has expired":      func(e *rollout.Entry) { e.Seen.Live.NotAfter = now },
		"certificate: the certificate expires in 1 day": func(e *rollout.Entry) { e.Seen.Live.NotAfter = now.Add(47 * time.Hour) },
		"unreachable: connection refused":               func(e *rollout.Entry) { ended(rollout.Unreachable, unreachable)(e); e.Seen = nil },
	} {
		h := status(entry("a", change)).Hosts()[0]
		got := ""
		if h.Error != nil {
			got = string(h.Error.Class) + ": " + h.Error.Message
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	idle := entry("a", func(e *rollout.Entry) { e.Outcome, e.Seen.Unit.Active = rollout.NotApplicable, "inactive" })
	if err := status(idle).Error(idle); err != nil {
		t.Errorf("a host without a certificate: %v", err)
	}
}

func TestStatusText(t *testing.T) {
	list := []rollout.Entry{
		entry("well", func(e *rollout.Entry) { e.Seen.Provider = &host.Provider{ClientID: "client-1"} }),
		entry("late", func(e *rollout.Entry) { e.Seen.Live.NotAfter = now.Add(-time.Minute); e.Seen.Denied = "AADSTS700027" }),
		entry("half", func(e *rollout.Entry) {
			e.Seen.Receipts = []host.Receipt{{State: "pending", Run: "R", Owner: "someone@somewhere"}}
		}),
		entry("dark", func(e *rollout.Entry) { e.Seen.Live, e.Seen.LiveNote = nil, "the host has no openssl to read it" }),
		entry("away", func(e *rollout.Entry) { ended(rollout.Unreachable, unreachable)(e); e.Seen = nil }),
		entry("cut", func(e *rollout.Entry) { ended(rollout.Skipped, nil)(e); e.Seen = nil }),
	}
	var b bytes.Buffer
	s := status(list...)
	s.Rotated = map[string]Rotation{"well": {RunID: "R", At: now, Proof: "log_clean"}, "dark": {RunID: "R", At: now, Proof: "log_clean"}}
	s.Text(&b)
	golden(t, "status.txt", b.String())
}

// A status has no action and no reason, but the unit and the days left.
func TestStatusHosts(t *testing.T) {
	hosts := status(entry("a", nil), entry("b", func(e *rollout.Entry) { e.Seen = nil })).Hosts()
	a, b := hosts[0], hosts[1]
	if a.Action+a.Reason != "" || a.DaysLeft == nil || *a.DaysLeft != 20 || a.Unit == nil || a.Unit.Active != "active" || a.Unit.Started == nil || a.Outcome != nil {
		t.Errorf("%+v", a)
	}
	if b.DaysLeft != nil || b.Unit != nil || b.Old != nil || !strings.Contains(b.Note, "not checked") {
		t.Errorf("%+v", b)
	}
}

// A certificate without end is valid until the year 9999 (RFC 5280 section 4.1.2.5), which
// a time.Duration can't count to.
func TestStatusWithoutEnd(t *testing.T) {
	end := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	e := entry("a", func(e *rollout.Entry) {
		e.Seen.Live.NotAfter, e.Seen.Provider = end, &host.Provider{ClientID: "client-1"}
	})
	days := int((end.Unix() - now.Unix()) / 86400)
	s := status(e)
	if h := s.Hosts()[0]; h.DaysLeft == nil || *h.DaysLeft != days || h.Error != nil {
		t.Errorf("%+v", h)
	}
	var text, metrics bytes.Buffer
	s.Text(&text)
	if err := s.Prometheus(&metrics); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), fmt.Sprint(" ", days, " ")) || strings.Contains(text.String(), "106751") {
		t.Errorf("not %d days: %s", days, text.String())
	}
	if !strings.Contains(metrics.String(), "} 2.53402300799e+11\n") {
		t.Errorf("%s", metrics.String())
	}
}

// TestSafe checks that the old credential is safe to remove only if every host is known to
// use the one that the inventory names.
func TestSafe(t *testing.T) {
	yes, no := true, false
	p := func(change func(*rollout.Principal)) rollout.Principal {
		p := rollout.Principal{Named: true, Credentials: []rollout.Credential{{Wanted: true, Hosts: []string{"a-1", "a-2"}}}}
		if change != nil {
			change(&p)
		}
		return p
	}
	old := func(p *rollout.Principal) {
		p.Credentials = append(p.Credentials, rollout.Credential{Hosts: []string{"b-1", "b-2"}})
	}
	for _, tt := range []struct {
		principal rollout.Principal
		unseen    []string
		elsewhere int
		safe      *bool
		why       string
	}{
		{p(nil), nil, 0, &yes, "yes, no host"},
		{p(old), nil, 0, &no, "no, 2 hosts still use it: b-[1-2]"},
		{p(old), []string{"x"}, 3, &no, "no, 2 hosts"},
		{p(func(p *rollout.Principal) { p.Stale = []string{"a-2"} }), nil, 0, &no, "no, 1 host still uses it: a-2"},
		{p(nil), []string{"x"}, 0, nil, "unknown: x may still use it"},
		{p(nil), nil, 3, nil, "unknown: 3 hosts of the inventory not checked"},
		{p(func(p *rollout.Principal) { p.Unfinished = []string{"a-1"} }), nil, 0, nil, "unknown: an unfinished run may restore it on a-1"},
		{p(func(p *rollout.Principal) { p.Named = false }), nil, 0, nil, "unknown: the inventory does not name"},
	} {
		s := status()
		s.Elsewhere = tt.elsewhere
		safe, why := s.safe(tt.principal, tt.unseen)
		if (safe == nil) != (tt.safe == nil) || safe != nil && *safe != *tt.safe || !strings.HasPrefix(why, tt.why) {
			t.Errorf("%q, want %q", why, tt.why)
		}
	}
}

// A host whose application is unknown may use any: then no old certificate is safe to
// remove.
func TestSafeBesideANamelessHost(t *testing.T) {
	wanted := &certificate.Certificate{Leaf: certificate.Info{Thumbprint: "NEW", NotAfter: now.Add(time.Hour)}}
	has := func(name, client, thumbprint string) rollout.Entry {
		return entry(name, func(e *rollout.Entry) {
			e.Certificate, e.Seen.Provider = wanted, &host.Provider{ClientID: client}
			e.Seen.Live = &certificate.Info{Thumbprint: thumbprint, NotAfter: now.Add(time.Hour)}
		})
	}
	s := status(has("a", "C", "NEW"), has("b", "", "NEW"))
	if p := s.Principals(); p[0].SafeToDrop == nil || !*p[0].SafeToDrop {
		t.Errorf("%+v", p)
	}
	s = status(has("a", "C", "NEW"), has("b", "", "OLD"))
	if p := s.Principals(); p[0].SafeToDrop != nil || !strings.Contains(p[0].Why, "unknown: b may still use it") {
		t.Errorf("%+v", p)
	}
	beside := has("a", "C", "NEW")
	beside.Seen.Config.Providers = []host.Provider{{ClientID: "c", Path: "/another/file"}}
	s = status(beside)
	if p := s.Principals(); p[0].SafeToDrop != nil || !strings.Contains(p[0].Why, "unknown: a may still use it") {
		t.Errorf("%+v", p)
	}
}

// Text of a host or a journal cannot end a label or a line.
func TestPrometheus(t *testing.T) {
	list := []rollout.Entry{
		entry("well", func(e *rollout.Entry) {
			e.Seen.Provider, e.Seen.ConfigDigest = &host.Provider{ClientID: "c\"\n"}, "0a"
			e.Seen.Latest = &host.Latest{Version: "2.0\"\n1", Upload: now, Uploads: 12}
		}),
		entry("late", func(e *rollout.Entry) { e.Seen.Live.NotAfter = now.Add(time.Hour) }),
		entry("away", func(e *rollout.Entry) { ended(rollout.Unreachable, unreachable)(e); e.Seen = nil }),
		entry("cut", func(e *rollout.Entry) { ended(rollout.Skipped, nil)(e); e.Seen = nil }),
	}
	var b bytes.Buffer
	if err := status(list...).Prometheus(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.prom", b.String())
	document, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("aoifleet_[a-z_]+")
	shown, documented := name.FindAllString(b.String(), -1), name.FindAllString(string(document), -1)
	for _, metric := range append(slices.Clone(shown), documented...) {
		if !slices.Contains(shown, metric) || !slices.Contains(documented, metric) {
			t.Errorf("%s is not printed, or not in docs/monitoring.md", metric)
		}
	}
}
