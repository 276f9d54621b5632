package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

const askedTenant = "11111111-aaaa-4bbb-8ccc-000000000001"

// asker is a Verifier at a pretend Azure, in a bubble with a clock of its own.
type asker struct {
	Verifier
	cloud *cloud.Cloud
	cert  *certificate.Certificate
}

func inBubble(t *testing.T, f func(*asker)) {
	t.Helper()
	subject, err := certificate.ParseSubject("CN=agents")
	if err != nil {
		t.Fatal(err)
	}
	bubble := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when they begin
	cert, _, err := certificate.New(subject, 2048, 365*24*time.Hour, bubble)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c, err := cloud.New(cloud.Options{})
		if err != nil {
			t.Fatal(err)
		}
		transport, stop := c.Transport()
		a := &asker{cloud: c, cert: cert}
		a.Transport = transport
		f(a)
		stop()
		time.Sleep(10 * time.Second) // connections close (TLS close_notify)
	})
}

// application is one that has the certificate, and a vault with its secret.
func (a *asker) application(client string, vaults ...string) {
	_, chain := a.cert.KeyPair()
	a.cloud.AddApplication(askedTenant, client, "object-"+client).Register(chain[0], cloud.Spread{})
	for _, name := range vaults {
		v := a.cloud.AddVault(name, askedTenant)
		v.Allow(client, true)
		v.Set(InputSecret, cloud.StoredSecret{Value: "sv=1&sig=TOPSECRET"})
	}
}

func (a *asker) host(name, client, vault string) rollout.Entry {
	return rollout.Entry{Target: rollout.Target{Host: &inventory.Host{Name: name}, Certificate: a.cert},
		Seen: &host.Observation{Provider: &host.Provider{TenantID: askedTenant, ClientID: client, Vault: vault}}}
}

// What Entra says counts for every vault of the same tenant, application and
// certificate, however hosts write their ids.
func TestEntraIsAskedOnce(t *testing.T) {
	count := func(vaults ...string) (tokens, secrets int) {
		inBubble(t, func(a *asker) {
			a.application("abcdef", vaults...)
			var entries []rollout.Entry
			for i, v := range vaults {
				entries = append(entries, a.host(fmt.Sprint("a-", i), "abcdef", v), a.host(fmt.Sprint("b-", i), "ABCDEF", strings.ToUpper(v)))
			}
			answers := Questions(entries, InputSecret)
			questions, rest := answers.Questions, answers.NotAsked
			if len(questions) != len(vaults) || len(rest) > 0 || len(questions[0].Hosts) != 2 {
				t.Fatalf("%d questions, %v", len(questions), rest)
			}
			a.Ask(context.Background(), questions)
			for _, q := range questions {
				if q.Err != nil || !q.Result.Accepted || q.Result.Secret.Name == "" {
					t.Errorf("%s: %+v, %v", q.Vault, q.Result, q.Err)
				}
			}
			for _, p := range a.cloud.Paths() {
				if strings.HasSuffix(p, "/token") {
					tokens++
				} else if strings.Contains(p, "/secrets/") {
					secrets++
				}
			}
		})
		return tokens, secrets
	}
	one, _ := count("vault-1")
	three, secrets := count("vault-1", "vault-2", "vault-3")
	if one != three || secrets < 3 {
		t.Errorf("%d tokens for one vault, %d for three with %d requests for secrets", one, three, secrets)
	}
}

// Secret providers that share a file all sign in with the new certificate: each of
// their applications is asked about.
func TestEveryProviderOfTheFileIsAskedAbout(t *testing.T) {
	inBubble(t, func(a *asker) {
		a.application("abcdef", "vault-1")
		e := a.host("a", "abcdef", "vault-1")
		e.Seen.Config.Providers = []host.Provider{*e.Seen.Provider, {TenantID: askedTenant, ClientID: "other", Vault: "vault-1"}, {TenantID: askedTenant, ClientID: "third", Path: "/another"}}
		questions := Questions([]rollout.Entry{e}, InputSecret).Questions
		if len(questions) != 2 || questions[1].ClientID != "other" {
			t.Fatalf("%d questions", len(questions))
		}
		a.Ask(context.Background(), questions)
		if questions[0].Err != nil || questions[1].Err == nil || questions[1].Err.Code != "AADSTS700016" {
			t.Errorf("%v, %v", questions[0].Err, questions[1].Err)
		}
	})
}

// The secret is the one that the agent's configuration names, else the usual one; several
// pipelines may name several.
func TestSecretOfTheConfiguration(t *testing.T) {
	inBubble(t, func(a *asker) {
		a.application("abcdef", "vault-1")
		a.cloud.AddVault("vault-2", askedTenant).Allow("abcdef", true)
		named := a.host("a", "abcdef", "vault-1")
		named.Seen.Provider.Secrets = []string{"sas-of-london", InputSecret}
		missing := a.host("b", "abcdef", "vault-2")
		missing.Seen.Provider.Secrets = []string{"gone"}
		entries := []rollout.Entry{named, a.host("c", "abcdef", "vault-1"), missing}
		asked := func(secret string) (list []string) {
			for _, q := range Questions(entries, secret).Questions {
				list = append(list, q.Vault+"/"+q.Secret+" "+strings.Join(q.Hosts, ","))
			}
			return list
		}
		if got, want := asked(""), []string{"vault-1/sas-of-london a", "vault-1/" + InputSecret + " a,c", "vault-2/gone b"}; !slices.Equal(got, want) {
			t.Errorf("%q, expected %q", got, want)
		}
		if got, want := asked("other"), []string{"vault-1/other a,c", "vault-2/other b"}; !slices.Equal(got, want) {
			t.Errorf("%q, expected %q", got, want)
		}
		plan := &rollout.Plan{Entries: entries}
		questions := Questions(plan.Entries, "").Questions
		a.Ask(context.Background(), questions)
		if e := questions[0].Err; e == nil || !strings.Contains(e.Message, "has no secret sas-of-london") {
			t.Errorf("%v", e)
		}
		if questions[1].Err != nil {
			t.Error(questions[1].Err)
		}
	})
}

// One that is refused is refused for every vault.
func TestEntraRefusesOnce(t *testing.T) {
	inBubble(t, func(a *asker) {
		a.application("abcdef", "vault-1", "vault-2")
		a.cloud.AddApplication(askedTenant, "other", "object")
		questions := Questions([]rollout.Entry{a.host("a", "other", "vault-1"), a.host("b", "other", "vault-2"), a.host("c", "abcdef", "vault-2")}, InputSecret).Questions
		a.Ask(context.Background(), questions)
		for i, class := range []problem.Class{problem.Refused, problem.Refused, ""} {
			if e := questions[i].Err; (e == nil) != (class == "") || e != nil && e.Class != class {
				t.Errorf("%d: %v", i, e)
			}
		}
		if questions[2].Result.Secret.Name == "" {
			t.Error("the other application's question is not answered")
		}
	})
}

// An outage costs its 30 s once, however many applications and vaults there are;
// one vault that is away does not keep the others from being asked.
func TestAnOutageOfManyCostsItsTimeOnce(t *testing.T) {
	const many = 24
	for _, tt := range []struct {
		name    string
		service cloud.Service
		fault   cloud.Fault
		answers int
	}{
		{"Entra hangs", cloud.Entra, cloud.Fault{Times: -1, Hang: true}, 0},
		{"Entra is out of order", cloud.Entra, cloud.Fault{Times: -1, Status: 503}, 0},
		{"every vault hangs", cloud.Vault, cloud.Fault{Times: -1, Hang: true}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(a *asker) {
				var entries []rollout.Entry
				for i := range many {
					client, vault := fmt.Sprintf("client-%d", i), fmt.Sprintf("vault-%d", i)
					a.application(client, vault)
					entries = append(entries, a.host(fmt.Sprint("vm-", i), client, vault))
				}
				a.cloud.Fail(tt.service, tt.fault)
				questions := Questions(entries, InputSecret).Questions
				began := time.Now()
				a.Ask(context.Background(), questions)
				if took := time.Since(began); took > 33*time.Second {
					t.Errorf("took %s", took)
				}
				for _, q := range questions {
					if q.Err == nil || q.Err.Class != problem.Unreachable {
						t.Fatalf("%s: %v", q.Vault, q.Err)
					}
				}
			})
		})
	}
	t.Run("one vault is away", func(t *testing.T) {
		inBubble(t, func(a *asker) {
			var entries []rollout.Entry
			for i := range many {
				client, vault := fmt.Sprintf("client-%d", i), fmt.Sprintf("vault-%d", i)
				if a.application(client, vault); i == 0 {
					vault = "no-such-vault"
				}
				entries = append(entries, a.host(fmt.Sprint("vm-", i), client, vault))
			}
			questions := Questions(entries, InputSecret).Questions
			a.Ask(context.Background(), questions)
			for i, q := range questions {
				if (q.Err == nil) != (i != 0) {
					t.Errorf("%s: %v", q.Vault, q.Err)
				}
			}
		})
	})
}
