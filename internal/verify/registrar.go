package verify

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Registration is a certificate that is to be on an application, or off it. A
// Registrar fills in Done and Err.
type Registration struct {
	TenantID, ClientID string
	Certificate        *x509.Certificate
	Hosts              []string // that need it, or use it still; none where no host was asked

	Done string        // how it was done, one of azure.By…; "": it was not
	On   []azure.Place // where it is, or was added or removed
	Err  *azure.Error  // why not
}

// Place is where Register adds certificates. The zero value is the default of azure.Target.
type Place struct {
	On       azure.Place
	ObjectID string // of that object, for a signer that may not read it; "": it is read
}

// Registrations returns the certificates that the hosts of questions need on their
// applications, each once.
func Registrations(questions []*Question) []*Registration {
	var list []*Registration
	known := map[string]*Registration{}
	for _, q := range questions { // which may differ in their vault alone
		key := strings.ToLower(q.ClientID) + " " + q.Certificate.Leaf.Thumbprint
		r := known[key]
		if r == nil {
			r = &Registration{TenantID: q.TenantID, ClientID: q.ClientID, Certificate: q.Pair.Leaf()}
			known[key], list = r, append(list, r)
		}
		for _, name := range q.Hosts {
			if !slices.Contains(r.Hosts, name) {
				r.Hosts = append(r.Hosts, name)
			}
		}
	}
	return list
}

// CheckOnly returns an error of class refused where a certificate is for another application
// than the one with a client id; "" is any. Whoever can write a host's configuration decides
// which application that names.
func CheckOnly(list []*Registration, client string) error {
	for _, r := range list {
		if client != "" && !strings.EqualFold(r.ClientID, client) {
			return &problem.Error{Class: problem.Refused, Message: fmt.Sprintf("%s: the configuration names application %s, not %s; nothing was changed",
				strings.Join(inventory.Fold(r.Hosts), ", "), display.Sanitise(r.ClientID, 200), client), Hint: "check that configuration, or leave the host out with --limit"}
		}
	}
	return nil
}

// PlaceNamed returns the Place with a name, "" for the default, and whether there is one.
func PlaceNamed(on, objectID string) (Place, bool) {
	p := Place{azure.Place(on), objectID}
	return p, on == "" || p.On == azure.OnApplication || p.On == azure.OnPrincipal
}

// Registrar registers and retires certificates of applications with Microsoft Graph.
// Close it when done.
type Registrar struct {
	client *azure.Client
	signer azure.Pair              // signs in as the application; zero: the operator does
	graphs map[string]*azure.Graph // by client id: each remembers what it has done
}

// NewRegistrar returns a Registrar for a cloud. signer is a certificate that the
// application has, with which the Registrar signs in as the application; nil: the
// operator signs in, in a pipeline as getenv says. transport is as in Verifier. The error is an *azure.Error of class
// configuration.
func NewRegistrar(cloud azurecloud.Settings, transport *http.Transport, getenv func(string) string, signer *certificate.Certificate) (*Registrar, error) {
	client, err := azure.New(cloud, transport, azure.Patience{})
	if err != nil {
		return nil, err
	}
	r := &Registrar{client: client.InEnvironment(getenv), graphs: map[string]*azure.Graph{}}
	if signer != nil {
		if r.signer, err = pairOf(signer); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// SignIn signs the operator in before anything else takes time; "" is the operator's own
// tenant. An error shows when the token is needed.
func (r *Registrar) SignIn(ctx context.Context, tenant string) {
	if r.signer.Leaf() == nil {
		r.client.SignIn(ctx, tenant)
	}
}

// SignedIn returns who was signed in, each once.
func (r *Registrar) SignedIn() (list []string) {
	for _, client := range slices.Sorted(maps.Keys(r.graphs)) {
		if who := r.graphs[client].SignedIn(); who != "" && !slices.Contains(list, who) {
			list = append(list, who)
		}
	}
	return list
}

// Close closes idle connections.
func (r *Registrar) Close() {
	for _, graph := range r.graphs {
		graph.Close()
	}
}

// Register adds certificates to their applications, those of one application together, and
// calls each with every one that has ended. The error is one of this program, not of
// Azure.
func (r *Registrar) Register(ctx context.Context, list []*Registration, at Place, each func(*Registration)) error {
	return change(ctx, list, each, func(group []*Registration) ([]azure.Change, error) {
		graph, err := r.graph(group[0])
		if err != nil {
			return nil, err
		}
		return graph.Register(ctx, azure.Target{ClientID: group[0].ClientID, On: at.On, ObjectID: at.ObjectID}, certificatesOf(group), r.signer)
	})
}

// Retire removes certificates that Find has returned, and calls each with every one that
// has ended. The error is as with Register.
func (r *Registrar) Retire(ctx context.Context, list []*Registration, each func(*Registration)) error {
	return change(ctx, list, each, func(group []*Registration) ([]azure.Change, error) {
		graph, err := r.graph(group[0])
		if err != nil {
			return nil, err
		}
		return graph.Retire(ctx, group[0].ClientID, certificatesOf(group), r.signer)
	})
}

func certificatesOf(group []*Registration) (certs []*x509.Certificate) {
	for _, item := range group {
		certs = append(certs, item.Certificate)
	}
	return certs
}

// graph returns Microsoft Graph as whoever signs in, one for each application.
func (r *Registrar) graph(item *Registration) (*azure.Graph, error) {
	key := strings.ToLower(item.ClientID)
	if graph := r.graphs[key]; graph != nil {
		return graph, nil
	}
	graph, err := r.openGraph(item)
	if err == nil {
		r.graphs[key] = graph
	}
	return graph, err
}

func (r *Registrar) openGraph(item *Registration) (*azure.Graph, error) {
	if r.signer.Leaf() == nil {
		return r.client.Graph(item.TenantID, nil)
	}
	credential, err := r.client.AppCredential(item.TenantID, item.ClientID, r.signer)
	if err != nil {
		return nil, err
	}
	return r.client.Graph(item.TenantID, credential)
}

// change does one application after the other, until ctx ends. Where Azure gives no answer
// it is not asked for the rest: an outage costs its time once.
func change(ctx context.Context, list []*Registration, each func(*Registration), do func(group []*Registration) ([]azure.Change, error)) error {
	var outage *azure.Error
	for _, group := range byApplication(list) {
		if ctx.Err() != nil {
			return nil
		}
		e, done := outage, make([]azure.Change, len(group))
		if outage == nil {
			changes, err := do(group)
			if e = azure.AsError(err); err != nil && e == nil {
				return err
			}
			copy(done, changes)
		}
		if noAnswer(e) {
			outage = e
		}
		for i, item := range group {
			if item.Done = done[i].How; item.Done == "" {
				item.Err = e
			} else {
				item.On = done[i].On
			}
			each(item)
		}
	}
	return nil
}

// byApplication groups certificates, in the order of the first of each application.
func byApplication(list []*Registration) (groups [][]*Registration) {
	place := map[string]int{}
	for _, item := range list {
		key := strings.ToLower(item.ClientID)
		at, known := place[key]
		if !known {
			at = len(groups)
			place[key], groups = at, append(groups, nil)
		}
		groups[at] = append(groups[at], item)
	}
	return groups
}
