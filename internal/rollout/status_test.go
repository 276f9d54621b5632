package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// using returns a host with a certificate; the inventory names NEW.
func using(name, thumbprint string, change func(*Entry)) Entry {
	e := Entry{Target: Target{Host: &inventory.Host{Name: name}, Certificate: newCertificate("NEW")}, Seen: healthy()}
	e.Seen.Live = &certificate.Info{Thumbprint: thumbprint, NotAfter: clock}
	if change != nil {
		change(&e)
	}
	return e
}

// Every host is in one credential, or unseen, or has a managed identity.
func TestPrincipals(t *testing.T) {
	none := func(e *Entry) { e.Seen.Live = nil }
	list, unseen := Principals([]Entry{
		using("new-1", "NEW", nil),
		using("old-1", "OLD", nil),
		using("stale", "NEW", func(e *Entry) { e.Seen.File.Changed = clock }),
		using("stopped", "NEW", func(e *Entry) { e.Seen.File.Changed, e.Seen.Unit.Active = clock, "inactive" }),
		using("other", "OLDER", func(e *Entry) { e.Seen.Live.NotAfter = clock.Add(-time.Hour) }),
		using("second", "OLD", func(e *Entry) { e.Seen.Provider = &host.Provider{TenantID: "t", ClientID: "client-2"} }),
		using("offline", "", func(e *Entry) { e.Seen, e.Outcome = nil, Unreachable }),
		using("no openssl", "", none),
		using("no openssl, right file", "", func(e *Entry) { none(e); e.Seen.File.Digest = e.Certificate.Digest() }),
		using("managed", "", func(e *Entry) { e.Seen.Provider, e.Outcome = nil, NotApplicable }),
	})
	if got := strings.Join(unseen, ","); got != "offline,no openssl" {
		t.Errorf("unseen: %s", got)
	}
	if len(list) != 2 || list[0].ClientID != "client-1" || list[1].ClientID != "client-2" || list[1].TenantID != "t" {
		t.Fatalf("%+v", list)
	}
	var got []string
	for _, c := range list[0].Credentials {
		line := c.Certificate.Thumbprint + ":" + strings.Join(c.Hosts, ",")
		if c.Wanted {
			line += "!"
		}
		got = append(got, line)
	}
	if want := []string{"NEW:new-1,stale,stopped,no openssl, right file!", "OLDER:other", "OLD:old-1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := strings.Join(list[0].Old(), ","); got != "stale,other,old-1" || !list[0].Named {
		t.Errorf("old: %s, %+v", got, list[0])
	}
}

// An application is one principal, however its hosts write its ids.
func TestPrincipalIsTheClient(t *testing.T) {
	as := func(tenant, client string) func(*Entry) {
		return func(e *Entry) { e.Seen.Provider = &host.Provider{TenantID: tenant, ClientID: client} }
	}
	list, _ := Principals([]Entry{
		using("new", "NEW", as("T", "AB")), using("case", "OLD", as("t", "ab")), using("domain", "OLD", as("contoso.example", "AB")),
		using("open", "NEW", func(e *Entry) {
			as("T", "AB")(e)
			e.Seen.Receipts = []host.Receipt{{Run: "R", State: "pending"}}
		}),
	})
	if len(list) != 1 || list[0].TenantID != "T" || list[0].ClientID != "AB" || strings.Join(list[0].Old(), ",") != "case,domain" || strings.Join(list[0].Unfinished, ",") != "open" {
		t.Errorf("%+v", list)
	}
}

// An agent may have several secret providers: some with the file that is rotated, some
// with files that are not checked.
func TestSeveralProviders(t *testing.T) {
	provider := func(client, vault, path string) host.Provider {
		return host.Provider{TenantID: "T", ClientID: client, Vault: vault, Path: path}
	}
	has := func(name, thumbprint string, list ...host.Provider) Entry {
		return using(name, thumbprint, func(e *Entry) { e.Seen.Provider, e.Seen.Config.Providers = &list[0], list })
	}
	one := has("one", "OLD", provider("A", "v", "/f"), provider("a", "V", "/f"), provider("B", "v", "/f"), provider("B", "w", "/f"), provider("C", "v", "/g"))
	var got []string
	for _, p := range one.Providers() {
		got = append(got, p.ClientID+" "+p.Vault)
	}
	if want := []string{"A v", "B v", "B w"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	merged := has("merged", "OLD", provider("A", "v", "/f"), provider("a", "V", "/f"))
	merged.Seen.Config.Providers[0].Secrets, merged.Seen.Config.Providers[1].Secrets = []string{"x"}, []string{"x", "y"}
	if list := merged.Providers(); len(list) != 1 || !slices.Equal(list[0].Secrets, []string{"x", "y"}) || len(merged.Seen.Provider.Secrets) != 1 {
		t.Errorf("%+v", list)
	}
	entries := []Entry{one, has("two", "NEW", provider("C", "v", "/f"))}
	for client, want := range map[string][2]string{"a": {"one", ""}, "B": {"one", ""}, "C": {"", "one"}, "D": {"", ""}} {
		in, unsure := InUse(entries, client, "OLD")
		if strings.Join(in, ",") != want[0] || strings.Join(unsure, ",") != want[1] {
			t.Errorf("%s: in use on %v, unknown on %v", client, in, unsure)
		}
	}
	list, _ := Principals(entries)
	got = nil
	for _, p := range list {
		got = append(got, p.ClientID+" old "+strings.Join(p.Old(), ",")+" other file "+strings.Join(p.OtherFile, ","))
	}
	if want := []string{"A old one other file ", "B old one other file ", "C old  other file one"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Without a named certificate there is no old one.
func TestPrincipalWithoutName(t *testing.T) {
	list, _ := Principals([]Entry{using("a", "NEW", nil), using("b", "OLD", func(e *Entry) { e.Certificate = nil })})
	if len(list) != 1 || list[0].Named {
		t.Errorf("%+v", list)
	}
}

func TestDrifted(t *testing.T) {
	for want, e := range map[bool]Entry{true: using("a", "OLD", nil), false: using("a", "NEW", nil)} {
		if e.Drifted() != want {
			t.Errorf("drifted: %v", !want)
		}
	}
	for _, e := range []Entry{{}, using("a", "OLD", func(e *Entry) { e.Certificate = nil }), using("a", "", func(e *Entry) { e.Seen.Live = nil })} {
		if e.Drifted() {
			t.Errorf("%+v", e)
		}
	}
}

// No host that may need a certificate is left out.
func TestInUse(t *testing.T) {
	principal := func(tenant, client string) func(*Entry) {
		return func(e *Entry) { e.Seen.Provider = &host.Provider{TenantID: tenant, ClientID: client} }
	}
	mine := func(more func(*Entry)) func(*Entry) {
		return func(e *Entry) {
			principal("T", "C")(e)
			if more != nil {
				more(e)
			}
		}
	}
	in, unsure := InUse([]Entry{
		using("new", "NEW", mine(nil)),
		using("old", "OLD", mine(nil)),
		using("case", "OLD", principal("t", "c")),
		using("in memory", "NEW", mine(func(e *Entry) { e.Seen.File.Changed = clock })),
		using("stopped", "NEW", mine(func(e *Entry) { e.Seen.File.Changed, e.Seen.Unit.Active = clock, "inactive" })),
		using("other client", "OLD", principal("T", "D")),
		using("tenant as a domain", "OLD", principal("contoso.example", "C")),
		using("nameless", "NEW", principal("", "")),
		using("offline", "", func(e *Entry) { e.Seen, e.Outcome = nil, Unreachable }),
		using("no openssl", "", mine(func(e *Entry) { e.Seen.Live = nil })),
		using("unfinished", "NEW", mine(func(e *Entry) { e.Seen.Receipts = []host.Receipt{{Run: "R", State: "pending"}} })),
		using("managed", "", func(e *Entry) { e.Seen.Provider, e.Outcome = nil, NotApplicable }),
	}, "C", "OLD")
	if got := strings.Join(in, ","); got != "old,case,in memory,tenant as a domain" {
		t.Errorf("in use on %s", got)
	}
	if got := strings.Join(unsure, ","); got != "nameless,offline,no openssl,unfinished" {
		t.Errorf("unknown on %s", got)
	}
}
