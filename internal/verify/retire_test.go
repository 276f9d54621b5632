package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// vm is a host that was seen with a certificate.
func vm(name, tenant, client, thumbprint string) rollout.Entry {
	return rollout.Entry{Target: rollout.Target{Host: &inventory.Host{Name: name}},
		Seen: &host.Observation{Provider: &host.Provider{TenantID: tenant, ClientID: client}, Live: &certificate.Info{Thumbprint: thumbprint, NotAfter: time.Now()}}}
}

// Which applications are meant: the fleet's, or the one that is named. How
// a host writes its tenant makes no other of it.
func TestApplicationsOf(t *testing.T) {
	one := []rollout.Entry{vm("a", "T", "C", "OLD"), vm("b", "contoso.example", "c", "NEW"), vm("nameless", "", "", "OLD")}
	two := append(one, vm("d", "T", "D", "OLD"))
	for _, tt := range []struct {
		name    string
		entries []rollout.Entry
		flags   Retirement
		want    string // "": none
		message string
	}{
		{"the only one", one, Retirement{}, "T C", ""},
		{"named", two, Retirement{ClientID: "d"}, "T D", ""},
		{"named with its tenant", two, Retirement{ClientID: "C", TenantID: "contoso.example"}, "contoso.example C", ""},
		{"two", two, Retirement{}, "T C, T D", ""},
		{"another", two, Retirement{ClientID: "E"}, "", "no host of the inventory"},
		{"no host uses it", one[2:], Retirement{}, "", "no host of the inventory"},
	} {
		list, err := applicationsOf(tt.entries, tt.flags.TenantID, tt.flags.ClientID)
		var names []string
		for _, r := range list {
			names = append(names, r.TenantID+" "+r.ClientID)
		}
		got, message := strings.Join(names, ", "), ""
		if err != nil {
			message = err.Error()
		}
		if got != tt.want || !strings.Contains(message, tt.message) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

// Nothing that a host uses, or may use, is removed without force.
func TestCheckUnused(t *testing.T) {
	for _, tt := range []struct {
		name          string
		using, unsure []string
		message       string
	}{
		{"none", nil, nil, ""},
		{"in use", []string{"a"}, []string{"b"}, "OLD is still in use on 1 host: a"},
		{"unsure", nil, []string{"b-1", "b-2"}, "OLD may still be in use on 2 hosts: b-[1-2]"},
	} {
		err := checkUnused("OLD", tt.using, tt.unsure)
		if (err == nil) != (tt.message == "") || err != nil && (err.Message != tt.message || err.Class != problem.Refused) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// With force a certificate in use is found too, and a warning says so.
func TestFindWithForce(t *testing.T) {
	inBubble(t, func(a *asker) {
		_, chain := a.cert.KeyPair()
		application := a.cloud.AddApplication(askedTenant, "abcdef", "object")
		application.Register(chain[0], cloud.Spread{})
		application.Permit("Application.ReadWrite.OwnedBy")
		registrar, err := NewRegistrar(azurecloud.Settings{}, a.Transport, nil, a.cert)
		if err != nil {
			t.Fatal(err)
		}
		defer registrar.Close()
		thumbprint, warnings := a.cert.Leaf.Thumbprint, []string(nil)
		entries := []rollout.Entry{vm("a", askedTenant, "abcdef", thumbprint)}
		what := Retirement{Thumbprint: thumbprint, Warn: func(message string) { warnings = append(warnings, message) }}
		inUse := thumbprint + " is still in use on 1 host: a"
		if _, err := registrar.Find(context.Background(), entries, what); err == nil || err.Error() != inUse || warnings != nil {
			t.Errorf("%v, %q", err, warnings)
		}
		what.Force = true
		item, err := registrar.Find(context.Background(), entries, what)
		if err != nil || !item[0].Certificate.Equal(chain[0]) || !slices.Equal(item[0].Hosts, []string{"a"}) || !slices.Equal(warnings, []string{inUse}) {
			t.Errorf("%+v, %v, %q", item, err, warnings)
		}
	})
}

// A certificate that Go's parser refuses, here for its negative serial number, can be
// retired: Entra may have it from another tool.
func TestFindWhatGoDoesNotParse(t *testing.T) {
	inBubble(t, func(a *asker) {
		key, chain := a.cert.KeyPair()
		template := &x509.Certificate{SerialNumber: big.NewInt(0x5a5a5a5a), Subject: pkix.Name{CommonName: "old"},
			NotBefore: chain[0].NotBefore, NotAfter: chain[0].NotAfter}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		der = bytes.Replace(der, []byte("\x02\x04\x5a\x5a\x5a\x5a"), []byte("\x02\x04\xda\x5a\x5a\x5a"), 1)
		old, err := certificate.Outline(der)
		if err == nil || old == nil {
			t.Fatalf("%v, %v", old, err)
		}
		application := a.cloud.AddApplication(askedTenant, "abcdef", "object")
		application.Register(chain[0], cloud.Spread{})
		application.Register(old, cloud.Spread{})
		application.Permit("Application.ReadWrite.OwnedBy")
		registrar, err := NewRegistrar(azurecloud.Settings{}, a.Transport, nil, a.cert)
		if err != nil {
			t.Fatal(err)
		}
		defer registrar.Close()
		entries := []rollout.Entry{vm("a", askedTenant, "abcdef", a.cert.Leaf.Thumbprint)}
		what := Retirement{Thumbprint: certificate.Describe(old).Thumbprint}
		item, err := registrar.Find(context.Background(), entries, what)
		if err != nil || !bytes.Equal(item[0].Certificate.Raw, der) || item[0].Certificate.Subject.CommonName != "old" {
			t.Errorf("%+v, %v", item, err)
		}
	})
}

// Of several, each is found once, though it is on both objects, and none that is not for
// signing in.
func TestFindSeveral(t *testing.T) {
	inBubble(t, func(a *asker) {
		_, chain := a.cert.KeyPair()
		other, _, err := certificate.New(pkix.Name{CommonName: "other"}, 2048, 24*time.Hour, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		_, stray := other.KeyPair()
		application := a.cloud.AddApplication(askedTenant, "abcdef", "object")
		application.Register(chain[0], cloud.Spread{})
		application.Register(stray[0], cloud.Spread{})
		application.RegisterPrincipal(stray[0])
		application.RegisterEncryption(stray[0])
		application.Permit("Application.ReadWrite.OwnedBy")
		registrar, err := NewRegistrar(azurecloud.Settings{}, a.Transport, nil, a.cert)
		if err != nil {
			t.Fatal(err)
		}
		defer registrar.Close()
		entries := []rollout.Entry{vm("a", askedTenant, "abcdef", a.cert.Leaf.Thumbprint)}
		list, err := registrar.Find(context.Background(), entries, Retirement{Unused: true, Now: time.Now()})
		if err != nil || len(list) != 1 || !list[0].Certificate.Equal(stray[0]) || len(list[0].On) != 2 {
			t.Fatal(list, err)
		}
		application.Remove(stray[0])
		application.RegisterEncryption(stray[0])
		for _, what := range []Retirement{{Unused: true, Now: time.Now()}, {Expired: true, Now: time.Now().Add(48 * time.Hour)}} {
			if list, err := registrar.Find(context.Background(), entries, what); err != nil || len(list) != 0 {
				t.Error(list, err)
			}
		}
	})
}
