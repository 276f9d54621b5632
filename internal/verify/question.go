package verify

import (
	"cmp"
	"strings"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Question is asked once for all hosts that would ask the same. A Verifier fills in
// Result and Err.
type Question struct {
	azure.Question
	Certificate *certificate.Certificate
	Hosts       []string        // whose question it is; none where it names its application itself
	Via         *inventory.Host // the host through which it is asked; nil: from this machine

	Result *azure.Result // never nil once it was asked
	Err    *azure.Error  // nil: Entra accepts the certificate, and the secret can be used

	// first is an earlier question about the same certificate for the same
	// application: Entra's answer to that counts here too. nil: this is the first.
	first     *Question
	answered  chan struct{} // closed when Result and Err are set
	viaFailed bool          // Via is unreachable or does not forward: Azure said nothing
}

// NotAsked is a host about which nothing is asked.
type NotAsked struct {
	Host    string
	Outcome rollout.Outcome
	Problem *problem.Error // nil where the outcome says all
}

// Answers are the questions of a fleet, and the hosts that have none.
type Answers struct {
	Questions []*Question
	NotAsked  []NotAsked
}

// NewQuestion returns the question of one application, without a host. vault "" asks
// Entra only; secret "" is InputSecret. The error is an *azure.Error of class
// configuration.
func NewQuestion(cert *certificate.Certificate, tenant, client, vault, secret string) (*Question, error) {
	pair, err := pairOf(cert)
	if err != nil {
		return nil, err
	}
	q := azure.Question{TenantID: tenant, ClientID: client, Vault: vault, Secret: secret, Pair: pair}
	return &Question{Question: q, Certificate: cert, answered: make(chan struct{})}, nil
}

// pairOf returns a certificate with its key, to sign in with.
func pairOf(cert *certificate.Certificate) (azure.Pair, error) {
	key, chain := cert.KeyPair()
	return azure.NewPair(chain, key)
}

// credential is what Entra is asked about, and from where.
type credential struct {
	tenant, client, thumbprint string
	viaHost                    bool
}

// Questions returns the questions of hosts that were seen, each once, in the order of
// the hosts. secret is the name of the agent's secret; "" is what its configuration names,
// else InputSecret.
func Questions(entries []rollout.Entry, secret string) *Answers {
	known, first := map[credential]map[string]*Question{}, map[credential]*Question{}
	a := &Answers{}
	for _, e := range entries {
		if n := notAsked(e); n != nil {
			a.NotAsked = append(a.NotAsked, *n)
			continue
		}
		for _, w := range wantsOf(e, secret) {
			// Azure ignores the case of both names.
			c, key := credentialOf(e, w.provider), strings.ToLower(w.provider.Vault+"/"+w.secret)
			if known[c][key] == nil {
				q, err := NewQuestion(e.Certificate, w.provider.TenantID, w.provider.ClientID, w.provider.Vault, w.secret)
				if err != nil {
					a.NotAsked = append(a.NotAsked, NotAsked{e.Host.Name, rollout.Refused, &problem.Error{Class: "certificate", Message: err.Error()}})
					break
				}
				if e.Host.ViaHost {
					q.Via = e.Host
				}
				if q.first = first[c]; q.first == nil {
					first[c], known[c] = q, map[string]*Question{}
				}
				known[c][key] = q
				a.Questions = append(a.Questions, q)
			}
			known[c][key].Hosts = append(known[c][key].Hosts, e.Host.Name)
		}
	}
	return a
}

// want is a secret that a host takes from a vault, with its new certificate.
type want struct {
	provider host.Provider
	secret   string
}

// wantsOf returns the secrets that a host takes; named replaces those of its configuration.
func wantsOf(e rollout.Entry, named string) (list []want) {
	for _, p := range e.Providers() { // each will sign in with the new certificate
		secrets := p.Secrets
		if named != "" || len(secrets) == 0 {
			secrets = []string{cmp.Or(named, InputSecret)}
		}
		for _, name := range secrets {
			list = append(list, want{p, name})
		}
	}
	return list
}

func credentialOf(e rollout.Entry, p host.Provider) credential {
	return credential{strings.ToLower(p.TenantID), strings.ToLower(p.ClientID), e.Certificate.Leaf.Thumbprint, e.Host.ViaHost}
}

// notAsked returns why nothing can be asked about a host, nil if it can.
func notAsked(e rollout.Entry) *NotAsked {
	switch {
	case e.Outcome != "":
		return &NotAsked{e.Host.Name, e.Outcome, e.Problem}
	case e.Certificate == nil:
		return &NotAsked{e.Host.Name, rollout.Refused, &problem.Error{Class: "certificate", Message: "no certificate is named for it",
			Hint: "set certificate: in the inventory, or use --certificate FILE"}}
	case e.Seen.Provider.TenantID == "":
		return &NotAsked{e.Host.Name, rollout.Refused, &problem.Error{Class: "configuration", Message: "the agent's configuration does not say for which application its certificate is",
			Hint: "ask with --tenant, --client-id and --vault"}}
	}
	return nil
}
