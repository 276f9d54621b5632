package azure

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// How a change was made.
const (
	ByNothing = "nothing" // nothing was to be done
	ByProof   = "proof"   // addKey or removeKey, with a proof signed by a certificate that the object has
	ByList    = "list"    // the whole list was replaced
	// ByProofUnread is ByProof of an object that may not be read: the change was
	// not verified.
	ByProofUnread = "proof_not_read_back"
)

// maxKeys is how many certificates an object can have, about: its size is limited
// (Directory_ResourceSizeExceeded).
const maxKeys = 600

// Target says where certificates are to be added.
type Target struct {
	ClientID string
	// On "" is the application, the service principal where the tenant has no
	// application, and nothing where the certificate is on either.
	On Place
	// ObjectID is the object's, for a proof where it may not be read; "": it is read.
	ObjectID string
}

// Change is what became of one certificate.
type Change struct {
	How string  // one of By…; "": it was not done
	On  []Place // where it was added or removed, or is for ByNothing
}

// Register adds certificates to an application, and verifies that they are there and that
// no other has disappeared. With a current certificate it adds the new
// ones by proof, for which an application needs no permission; without, or where it may
// not, it replaces the list once, which needs Application.ReadWrite.OwnedBy. It returns
// what became of each, also with an error, which is for those that were not done. Every
// error is an *Error.
func (g *Graph) Register(ctx context.Context, to Target, certs []*x509.Certificate, current Pair) ([]Change, error) {
	ctx, cancel := g.begin(ctx, len(certs))
	defer cancel()
	objects, err := g.targets(ctx, to)
	if err != nil && to.ObjectID != "" && current.Leaf() != nil && problem.Is(err, problem.Forbidden) {
		return g.addUnread(ctx, &Object{On: cmp.Or(to.On, OnApplication), ClientID: to.ClientID, ObjectID: to.ObjectID}, certs, current)
	}
	done := make([]Change, len(certs))
	if err != nil {
		return done, err
	}
	at, todo := objects[0], []*x509.Certificate(nil)
	for i, cert := range certs {
		if on := placesOf(cert, objects); on != nil {
			done[i] = Change{ByNothing, on}
		} else if !within(todo, cert) {
			todo = append(todo, cert)
		}
	}
	switch total := len(at.Keys) + len(todo); {
	case len(todo) == 0:
		return done, nil
	case total > maxKeys:
		return done, NewError(problem.Refused, "", fmt.Sprintf("the %s has %d certificates: Entra's limit is about %d, and it would have %d", at.On, len(at.Keys), maxKeys, total), retireExpired)
	}
	before := *at
	how, err := g.add(ctx, at, todo, current)
	if err != nil { // it may have been done, or a part
		todo = g.arrived(ctx, at, todo)
	}
	if len(todo) > 0 {
		if unsettled := g.settled(ctx, &before, todo, nil); unsettled != nil {
			return done, unsettled
		}
	}
	left := 0
	for i, cert := range certs {
		switch {
		case done[i].How != "":
		case within(todo, cert):
			done[i] = Change{how, []Place{at.On}}
		default:
			left++
		}
	}
	if left == 0 {
		err = nil
	}
	return done, err
}

// arrived returns those of some certificates that an object has.
func (g *Graph) arrived(ctx context.Context, at *Object, certs []*x509.Certificate) []*x509.Certificate {
	now, err := g.read(ctx, at.ClientID, at.On)
	return slices.DeleteFunc(certs, func(c *x509.Certificate) bool { return err != nil || !now.Has(c) })
}

func within(list []*x509.Certificate, cert *x509.Certificate) bool {
	return slices.ContainsFunc(list, cert.Equal)
}

// targets reads the objects on which a certificate may be already. The first is where it
// is to be added.
func (g *Graph) targets(ctx context.Context, to Target) ([]*Object, error) {
	if to.On != "" {
		return g.objects(ctx, to.ClientID, to.On)
	}
	objects, err := g.objects(ctx, to.ClientID, OnApplication, OnPrincipal)
	if len(objects) > 0 && problem.Is(err, problem.Forbidden) { // an owner may not be allowed to read the other one
		return objects, nil
	}
	return objects, err
}

// placesOf returns where a certificate is.
func placesOf(cert *x509.Certificate, objects []*Object) (on []Place) {
	for _, o := range objects {
		if o.Has(cert) {
			on = append(on, o.On)
		}
	}
	return on
}

// addUnread adds certificates to an object that may not be read.
func (g *Graph) addUnread(ctx context.Context, at *Object, certs []*x509.Certificate, current Pair) ([]Change, error) {
	done := make([]Change, len(certs))
	for i, cert := range certs {
		if err := g.addKey(ctx, at, cert, current); err != nil {
			return done, err
		}
		done[i] = Change{ByProofUnread, []Place{at.On}}
	}
	return done, nil
}

func (g *Graph) add(ctx context.Context, at *Object, certs []*x509.Certificate, current Pair) (how string, err error) {
	byProof := func() error {
		for _, cert := range certs {
			if err := g.addKey(ctx, at, cert, current); err != nil {
				return err
			}
		}
		return nil
	}
	return g.either(ctx, at, current, byProof, certs, nil)
}

// either changes an object by proof, or by the list where no key can sign a proof or
// Graph does not let this identity use one. Any other refusal holds for the list too.
func (g *Graph) either(ctx context.Context, at *Object, signer Pair, byProof func() error, add, remove []*x509.Certificate) (how string, err error) {
	if !at.usable(signer.Leaf(), time.Now()) {
		return ByList, g.replace(ctx, at, add, remove)
	}
	refused := byProof()
	if refused == nil || !g.denied() {
		return ByProof, refused
	}
	if err := g.reread(ctx, at, remove); err != nil {
		return ByList, err
	}
	if err = g.replace(ctx, at, add, remove); err == nil {
		return ByList, nil
	}
	both := *AsError(err)
	both.Message += "; before that it refused the proof: " + AsError(refused).Message
	return ByList, &both
}

// Retire removes certificates from the objects of an application, and verifies that they
// have disappeared and no other with them. The last valid certificate is never removed. signer
// is another certificate of the application, or the zero Pair: see Register. It
// returns what became of each, as Register does. Every error is an *Error.
func (g *Graph) Retire(ctx context.Context, clientID string, certs []*x509.Certificate, signer Pair) ([]Change, error) {
	ctx, cancel := g.begin(ctx, len(certs))
	defer cancel()
	done := make([]Change, len(certs))
	objects, err := g.objects(ctx, clientID, OnApplication, OnPrincipal)
	if err != nil {
		return done, err
	}
	if takesTheLast(objects, certs, time.Now()) {
		return done, NewError(problem.Configuration, "", "it is the application's last valid certificate: without it no agent could sign in",
			"register the new certificate first")
	}
	for i, cert := range certs {
		if placesOf(cert, objects) == nil {
			done[i].How = ByNothing
		}
	}
	for n, o := range objects {
		gone := slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return !o.Has(c) })
		if len(gone) == 0 {
			continue
		}
		if n > 0 { // the change of the first one may have taken minutes
			if err := g.reread(ctx, o, nil); err != nil {
				return done, err
			}
		}
		before := *o
		how, err := g.remove(ctx, o, gone, signer)
		if err == nil {
			err = g.settled(ctx, &before, nil, gone)
		}
		if err != nil {
			return done, err
		}
		for i, cert := range certs {
			if slices.Contains(gone, cert) && placesOf(cert, objects[n+1:]) == nil {
				done[i] = Change{how, placesOf(cert, append(slices.Clone(objects[:n]), &before))}
			}
		}
	}
	return done, nil
}

// takesTheLast reports whether no valid certificate would be left of those that are there.
func takesTheLast(objects []*Object, gone []*x509.Certificate, now time.Time) bool {
	took, left := false, false
	for _, o := range objects {
		for _, k := range o.Keys {
			took = took || k.Valid(now) && k.is(gone...)
			left = left || k.Valid(now) && !k.is(gone...)
		}
	}
	return took && !left
}

func (g *Graph) remove(ctx context.Context, at *Object, certs []*x509.Certificate, signer Pair) (how string, err error) {
	byProof := func() error { return g.removeKeys(ctx, at, certs, signer) }
	return g.either(ctx, at, signer, byProof, nil, certs)
}

// replace sends the whole list. Graph can't refuse a list that is out of date, but it
// refuses one while another change is in progress: then the list is read and made again.
func (g *Graph) replace(ctx context.Context, at *Object, add, remove []*x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, graphTimeout) // many certificates take longer only by proof
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		_, err := g.call(ctx, http.MethodPatch, at.path(), map[string]any{"keyCredentials": at.with(add, remove)})
		if !concurrent(err) {
			return err
		}
		if err := g.waitOr(ctx, pause+rand.N(pause), err); err != nil {
			return err
		}
		if err := g.reread(ctx, at, remove); err != nil {
			return err
		}
	}
}

// reread brings an object up to date. A key that has disappeared, other than of remove, may be
// one that this replica does not know yet: a list without it would remove it.
func (g *Graph) reread(ctx context.Context, at *Object, remove []*x509.Certificate) error {
	now, err := g.current(ctx, at.ClientID, at.On)
	if err != nil {
		return err
	}
	if len(missing(at, now, remove...)) > 0 {
		return othersChange()
	}
	*at = *now
	return nil
}

// with is the list of an object as it is sent back, with and without certificates: every
// other entry with its keyId and a null key, which leaves it as it is.
func (o *Object) with(add, remove []*x509.Certificate) []map[string]any {
	list := []map[string]any{}
	for _, k := range o.Keys {
		if k.is(remove...) {
			continue
		}
		entry := map[string]any{}
		for name, value := range k.raw {
			entry[name] = value
		}
		entry["key"] = nil
		list = append(list, entry)
	}
	for _, cert := range add {
		if !o.Has(cert) {
			list = append(list, newKey(cert))
		}
	}
	return list
}

// newKey is a keyCredential for a certificate.
func newKey(cert *x509.Certificate) map[string]any {
	return map[string]any{
		"type": certificateType, "usage": signInUsage, "key": base64Key(cert.Raw),
		"displayName":   "CN=" + clean(cert.Subject.CommonName, 80),
		"startDateTime": cert.NotBefore.UTC().Format(time.RFC3339), "endDateTime": cert.NotAfter.UTC().Format(time.RFC3339),
	}
}

// settled reads an object until what was added is there and what was removed is
// not, and returns what else has changed as an error. Graph's replicas agree within
// seconds.
func (g *Graph) settled(ctx context.Context, before *Object, added, removed []*x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, graphTimeout)
	defer cancel()
	for pause := time.Second; ; pause = min(2*pause, mostPause) {
		now, err := g.read(ctx, before.ClientID, before.On)
		switch {
		case err != nil && ctx.Err() == nil:
			return unread(err)
		case err == nil && now.shows(added, removed):
			g.left[now.path()] = now
			return lost(before, now, removed)
		}
		if err := g.waitOr(ctx, pause, NewError(problem.Unsettled, "", "Microsoft Graph accepted the change but does not show it yet",
			"check in a few minutes: aoifleet certificate list")); err != nil {
			return unread(err)
		}
	}
}

// unread returns the error of a change that Graph has accepted and that was not read back.
func unread(err error) error {
	e := AsError(err)
	if e == nil || e.Class == problem.Unsettled {
		return err
	}
	accepted := *e
	accepted.Message = "Microsoft Graph accepted the change, but it was not read back: " + e.Message
	accepted.Hint = toCompare
	return &accepted
}

// toCompare is the hint where it is unknown what an application has now.
const toCompare = "compare with: aoifleet certificate list"

// shows reports whether what was added is there and what was removed is not.
func (o *Object) shows(added, removed []*x509.Certificate) bool {
	return !slices.ContainsFunc(added, func(c *x509.Certificate) bool { return !o.Has(c) }) && !slices.ContainsFunc(removed, o.Has)
}

// lost returns an error where other certificates have disappeared: another client's
// list has replaced ours, or ours theirs.
func lost(before, now *Object, removed []*x509.Certificate) error {
	gone := missing(before, now, removed...)
	if len(gone) == 0 {
		return nil
	}
	return NewError(problem.Unsettled, "", fmt.Sprintf("%d other certificate(s) of the %s have disappeared, the first with keyId %s: another client changes them too", len(gone), now.On, clean(gone[0].ID, 60)), toCompare)
}
