package azure

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/sleep"
)

// Place is one of the two directory objects of an application. A certificate on either
// signs in: the application's is where the portal and az ad app put it, the service
// principal's where az ad sp and Terraform's azuread_service_principal_certificate do.
type Place string

// The places.
const (
	OnApplication Place = "application"
	OnPrincipal   Place = "service-principal"
)

// segments are the collections of the places in Graph's addresses.
var segments = map[Place]string{OnApplication: "applications", OnPrincipal: "servicePrincipals"}

// Object is a directory object and its certificates.
type Object struct {
	On       Place
	ClientID string
	ObjectID string
	Keys     []Key
}

// Key is one certificate of an Object. Compare Certificate, the DER: Graph's
// customKeyIdentifier is a thumbprint in several forms, a name, or nothing.
type Key struct {
	ID          string // keyId
	Name        string
	Usage       string
	Start, End  time.Time
	Certificate []byte
	// SignsIn: it is for signing in (usage Verify). The others on the list are for
	// encrypting tokens, SAML and the like.
	SignsIn bool

	raw map[string]json.RawMessage // as Graph sent it
}

// Valid reports whether the key can be used to sign in at a time.
func (k Key) Valid(at time.Time) bool { return k.SignsIn && !at.Before(k.Start) && at.Before(k.End) }

// is reports whether the key is one of some certificates to sign in with.
func (k Key) is(certs ...*x509.Certificate) bool {
	return k.SignsIn && slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return bytes.Equal(k.Certificate, c.Raw) })
}

// Has reports whether a certificate to sign in with is on the object.
func (o *Object) Has(cert *x509.Certificate) bool {
	return slices.ContainsFunc(o.Keys, func(k Key) bool { return k.is(cert) })
}

// usable reports whether a certificate can sign a proof for the object; nil can't.
func (o *Object) usable(cert *x509.Certificate, now time.Time) bool {
	return cert != nil && slices.ContainsFunc(o.Keys, func(k Key) bool { return k.is(cert) && k.Valid(now) })
}

// Objects reads the objects of an application in this tenant by its client id: the
// application first, and at least one. Every error is an *Error.
func (g *Graph) Objects(ctx context.Context, clientID string) ([]*Object, error) {
	ctx, cancel := g.begin(ctx, 1)
	defer cancel()
	return g.objects(ctx, clientID, OnApplication, OnPrincipal)
}

// objects reads those that exist.
func (g *Graph) objects(ctx context.Context, clientID string, places ...Place) ([]*Object, error) {
	var list []*Object
	var absent error
	for _, on := range places {
		o, err := g.current(ctx, clientID, on)
		switch e := AsError(err); {
		case e != nil && e.Code == "Request_ResourceNotFound":
			absent = err
		case err != nil:
			return list, err
		default:
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		return nil, absent
	}
	return list, nil
}

// current reads an object as it is before a change. Graph has several replicas: a
// list from one that does not show the last change of this Graph yet would undo that
// change when it is sent back.
func (g *Graph) current(ctx context.Context, clientID string, on Place) (*Object, error) {
	ctx, cancel := context.WithTimeout(ctx, graphTimeout)
	defer cancel()
	for pause := time.Second; ; pause = min(2*pause, mostPause) {
		now, err := g.read(ctx, clientID, on)
		if err != nil || g.left[now.path()] == nil || len(missing(g.left[now.path()], now)) == 0 {
			return now, err
		}
		if err := g.waitOr(ctx, pause, othersChange()); err != nil {
			return nil, err
		}
	}
}

func (g *Graph) read(ctx context.Context, clientID string, on Place) (*Object, error) {
	if !plainID(clientID) {
		return nil, configuration("it is the GUID of the application (client)", "the client id is not valid")
	}
	o := &Object{On: on, ClientID: clientID}
	// Without $select, key is null.
	body, err := g.call(ctx, http.MethodGet, o.path()+"?$select=id,appId,keyCredentials", nil)
	if err != nil {
		return nil, err
	}
	if o.parse(body) != nil {
		return nil, notTheService(g.wire.outcome())
	}
	return o, nil
}

// parse sets the id and the keys from Graph's answer.
func (o *Object) parse(body []byte) error {
	var answer struct {
		ID    string                       `json:"id"`
		AppID string                       `json:"appId"`
		Keys  []map[string]json.RawMessage `json:"keyCredentials"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if !plainID(answer.ID) || !strings.EqualFold(answer.AppID, o.ClientID) {
		return errors.New("not that application")
	}
	o.ObjectID = answer.ID
	for _, raw := range answer.Keys {
		key, err := keyOf(raw)
		if err != nil {
			return err
		}
		o.Keys = append(o.Keys, key)
	}
	o.leaveOutSAML()
	return nil
}

// path returns the address of an object below Graph's.
func (o *Object) path() string {
	return "/" + segments[o.On] + "(appId='" + strings.ToLower(o.ClientID) + "')"
}

// keyOf parses one key. JSON's names are compared exactly, and not as encoding/json does, so
// that what is sent back is what was read.
func keyOf(raw map[string]json.RawMessage) (Key, error) {
	k := Key{raw: raw}
	var kind, usage string
	for name, to := range map[string]any{"keyId": &k.ID, "displayName": &k.Name, "startDateTime": &k.Start, "endDateTime": &k.End,
		"key": &k.Certificate, "type": &kind, "usage": &usage} {
		if text, there := raw[name]; there && json.Unmarshal(text, to) != nil {
			return Key{}, fmt.Errorf("%s is not in the form of a key credential", name)
		}
	}
	if !plainID(k.ID) {
		return Key{}, errors.New("it has no id")
	}
	k.Name, k.Usage, k.Start, k.End = clean(k.Name, 120), clean(usage, 40), encodable(k.Start), encodable(k.End)
	k.SignsIn = strings.EqualFold(kind, certificateType) && strings.EqualFold(usage, signInUsage)
	return k, nil
}

// leaveOutSAML takes the public halves of SAML's signing certificates off the keys to
// sign in with: they have usage Verify too, beside one with usage Sign and the same
// customKeyIdentifier ("servicePrincipal: addTokenSigningCertificate").
func (o *Object) leaveOutSAML() {
	signs := map[string]bool{}
	for _, k := range o.Keys {
		if strings.EqualFold(k.Usage, "Sign") {
			signs[string(k.raw["customKeyIdentifier"])] = true
		}
	}
	for i, k := range o.Keys {
		if id := string(k.raw["customKeyIdentifier"]); id != "null" && signs[id] {
			o.Keys[i].SignsIn = false
		}
	}
}

// missing returns the keys of before, other than those of removed, that now does not have.
func missing(before, now *Object, removed ...*x509.Certificate) []Key {
	return slices.DeleteFunc(slices.Clone(before.Keys), func(k Key) bool {
		return k.is(removed...) || slices.ContainsFunc(now.Keys, func(other Key) bool { return other.ID == k.ID })
	})
}

// waitOr waits, and returns late where the operation's time is over. The wait is not part of an
// outage.
func (g *Graph) waitOr(ctx context.Context, pause time.Duration, late error) error {
	switch {
	case sleep.For(ctx, pause) && remaining(ctx) > 0:
		g.answered = time.Now()
		return nil
	case ctx.Err() == context.Canceled:
		return interrupted(ctx, "Microsoft Graph")
	}
	return late
}

func othersChange() *Error {
	return unsettled("another client is changing the certificates of this application")
}
