package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// vm is a host that was seen with a certificate.
func vm(name, tenant, client, thumbprint string) rollout.Entry {
	return rollout.Entry{Target: rollout.Target{Host: &inventory.Host{Name: name}},
		Seen: &host.Observation{Provider: &host.Provider{TenantID: tenant, ClientID: client}, Live: &certificate.Info{Thumbprint: thumbprint, NotAfter: time.Now()}}}
}

// Which application is meant: the fleet's only one, or the one that is named. How
// a host writes its tenant makes no other of it.
func TestApplicationOf(t *testing.T) {
	one := []rollout.Entry{vm("a", "T", "C", "OLD"), vm("b", "contoso.example", "c", "NEW"), vm("nameless", "", "", "OLD")}
	two := append(one, vm("d", "T", "D", "OLD"))
	for _, tt := range []struct {
		name    string
		entries []rollout.Entry
		flags   signInFlags
		want    string // "": none
		words   string
	}{
		{"the only one", one, signInFlags{}, "T C", ""},
		{"named", two, signInFlags{client: "d"}, "T D", ""},
		{"named with its tenant", two, signInFlags{client: "C", tenant: "contoso.example"}, "contoso.example C", ""},
		{"two", two, signInFlags{}, "", "the fleet has 2 applications"},
		{"another", two, signInFlags{client: "E"}, "", "no VM of the inventory"},
		{"nobody says", one[2:], signInFlags{}, "", "no VM of the inventory"},
	} {
		r, err := applicationOf(tt.entries, tt.flags)
		got, words := "", ""
		if err != nil {
			words = err.Error()
		} else {
			got = r.tenant + " " + r.client
		}
		if got != tt.want || !strings.Contains(words, tt.words) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

// Nothing that somebody needs, or may need, goes without force, and then it is
// said.
func TestMayGo(t *testing.T) {
	for _, tt := range []struct {
		name          string
		using, unsure []string
		words         string
	}{
		{"nobody", nil, nil, ""},
		{"in use", []string{"a"}, []string{"b"}, "OLD is still in use on 1 host: a"},
		{"unsure", nil, []string{"b-1", "b-2"}, "it can't be told whether 2 hosts use OLD: b-[1-2]"},
	} {
		var out bytes.Buffer
		a := &app{process: &process{stderr: &out}}
		err := a.mayGo("OLD", tt.using, tt.unsure, false)
		if (err == nil) != (tt.words == "") || err != nil && (err.Error() != tt.words || codeOf(err) != exitRefused) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := a.mayGo("OLD", tt.using, tt.unsure, true); err != nil || !strings.Contains(out.String(), tt.words) {
			t.Errorf("%s: %v, %q", tt.name, err, out.String())
		}
	}
}
