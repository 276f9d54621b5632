package azure

import (
	"context"
	"crypto/sha1" // #nosec: x5t is SHA-1 by definition (RFC 7515 section 4.1.7)
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// proofAudience is what a proof of possession is for, and proofLife how long it
// may last: "Generate proof of possession tokens for rolling keys" of Microsoft Graph.
const (
	proofAudience = "00000002-0000-0000-c000-000000000000"
	proofLife     = 10 * time.Minute
)

// How a change was made.
const (
	ByNothing = "nothing" // nothing was to be done
	ByProof   = "proof"   // addKey or removeKey, with a proof signed by a certificate that the application has
	ByList    = "list"    // the whole list was replaced
	// ByProofUnread is ByProof of an application that may not be read: the change was
	// not verified.
	ByProofUnread = "proof_not_read_back"
)

// proof returns a token that proves possession of the private key of a valid
// certificate of the application.
func proof(p Pair, objectID string, now time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": proofAudience, "iss": objectID, "nbf": now.Unix(), "exp": now.Add(proofLife).Unix(),
	})
	// As X509SecurityKey in the documentation's example writes them.
	sum := sha1.Sum(p.Leaf().Raw)
	token.Header["kid"], token.Header["x5t"] = thumbprint(p.Leaf()), base64.RawURLEncoding.EncodeToString(sum[:])
	return token.SignedString(p.key())
}

// Register adds a certificate to an application, and verifies that it is there and that
// no other has disappeared. With a current certificate it adds the new
// one by proof, which needs no permission; without, or where that is refused, it
// replaces the list, which needs Application.ReadWrite.OwnedBy. objectID may be
// "" where the application may be read; else only a proof can be tried. It
// returns how it was done. Every error is an *Error.
func (g *Graph) Register(ctx context.Context, clientID, objectID string, cert *x509.Certificate, current Pair) (string, error) {
	ctx, cancel := g.begin(ctx)
	defer cancel()
	before, err := g.current(ctx, clientID)
	if err != nil && (objectID == "" || current.Leaf() == nil || !problem.Is(err, problem.Forbidden)) {
		return "", err
	}
	if err != nil { // an application without any permission may not be read
		if err := g.addKey(ctx, clientID, objectID, cert, current); err != nil {
			return "", err
		}
		return ByProofUnread, nil
	}
	if _, there := before.Find(cert); there {
		return ByNothing, nil
	}
	if current.Leaf() != nil && before.usable(current.Leaf(), time.Now()) {
		err := g.addKey(ctx, clientID, before.ObjectID, cert, current)
		if err == nil || g.has(ctx, clientID, cert) {
			return ByProof, g.settled(ctx, before, cert, nil)
		}
		if e := AsError(err); e == nil || e.Class == problem.Interrupted || e.Class == problem.Unreachable {
			return "", err
		}
	}
	if err := g.replace(ctx, before, append(before.without(nil), newKey(cert))); err != nil && !g.has(ctx, clientID, cert) {
		return "", err
	}
	return ByList, g.settled(ctx, before, cert, nil)
}

// Retire removes a certificate from an application, and verifies that it has
// disappeared and no other with it. The last valid certificate is never removed. signer
// is another certificate of the application, or the zero Pair: see Register. It
// returns how it was done. Every error is an *Error.
func (g *Graph) Retire(ctx context.Context, clientID string, cert *x509.Certificate, signer Pair) (string, error) {
	ctx, cancel := g.begin(ctx)
	defer cancel()
	before, err := g.current(ctx, clientID)
	if err != nil {
		return "", err
	}
	if _, there := before.Find(cert); !there {
		return ByNothing, nil
	}
	now := time.Now()
	if !slices.ContainsFunc(before.Keys, func(k Key) bool { return !k.is(cert) && k.Valid(now) }) {
		return "", NewError(problem.Configuration, "", "it is the application's last valid certificate: without it no agent could sign in",
			"register the new certificate first")
	}
	if signer.Leaf() != nil && before.usable(signer.Leaf(), now) {
		err := g.removeKeys(ctx, before, cert, signer)
		if err == nil {
			return ByProof, g.settled(ctx, before, nil, cert)
		}
		if e := AsError(err); e == nil || e.Class == problem.Interrupted || e.Class == problem.Unreachable {
			return "", err
		}
	}
	if err := g.replace(ctx, before, before.without(cert)); err != nil {
		return "", err
	}
	return ByList, g.settled(ctx, before, nil, cert)
}

// usable reports whether a certificate can sign a proof.
func (a *Application) usable(cert *x509.Certificate, now time.Time) bool {
	k, there := a.Find(cert)
	return there && k.Valid(now)
}

// newKey is a keyCredential for a certificate.
func newKey(cert *x509.Certificate) map[string]any {
	return map[string]any{
		"type": certificateType, "usage": signInUsage, "key": base64Key(cert.Raw),
		"displayName":   "CN=" + clean(cert.Subject.CommonName, 80),
		"startDateTime": cert.NotBefore.UTC().Format(time.RFC3339), "endDateTime": cert.NotAfter.UTC().Format(time.RFC3339),
	}
}

// without is the list of an application as it is sent back, without a certificate
// (nil: with all): every entry with its keyId and a null key, which leaves it as
// it is.
func (a *Application) without(cert *x509.Certificate) []map[string]any {
	list := []map[string]any{}
	for _, k := range a.Keys {
		if cert != nil && k.is(cert) {
			continue
		}
		entry := map[string]any{}
		for name, value := range k.raw {
			entry[name] = value
		}
		entry["key"] = nil
		list = append(list, entry)
	}
	return list
}

func (g *Graph) addKey(ctx context.Context, clientID, objectID string, cert *x509.Certificate, current Pair) error {
	signed, err := proof(current, objectID, time.Now())
	if err != nil {
		return configuration("", "the current certificate can't sign")
	}
	key := map[string]any{"type": certificateType, "usage": signInUsage, "key": base64Key(cert.Raw)}
	_, err = g.call(ctx, http.MethodPost, g.application(clientID)+"/addKey", map[string]any{"keyCredential": key, "passwordCredential": nil, "proof": signed})
	return err
}

// removeKeys removes a certificate, as often as it is on the list.
func (g *Graph) removeKeys(ctx context.Context, before *Application, cert *x509.Certificate, signer Pair) error {
	for _, k := range before.Keys {
		if !k.is(cert) {
			continue
		}
		signed, err := proof(signer, before.ObjectID, time.Now())
		if err != nil {
			return configuration("", "the certificate can't sign")
		}
		if _, err := g.call(ctx, http.MethodPost, g.application(before.ClientID)+"/removeKey", map[string]any{"keyId": k.ID, "proof": signed}); err != nil {
			return err
		}
	}
	return nil
}

// current reads an application as it is before a change. Graph has several replicas: a
// list from one that does not show the last change of this Graph yet would undo that
// change when it is sent back.
func (g *Graph) current(ctx context.Context, clientID string) (*Application, error) {
	for pause := time.Second; ; pause = min(2*pause, mostPause) {
		now, err := g.read(ctx, clientID)
		if err != nil || g.left[strings.ToLower(clientID)] == nil {
			return now, err
		}
		if missing, _ := differ(g.left[strings.ToLower(clientID)], now); len(missing) == 0 {
			return now, nil
		}
		if !sleep.For(ctx, pause) {
			if ctx.Err() == context.Canceled {
				return nil, interrupted(ctx, "Microsoft Graph")
			}
			return nil, othersChange()
		}
	}
}

func othersChange() *Error {
	return NewError(problem.Unsettled, "", "another client is changing the certificates of this application", "run it again later")
}

// replace sends the whole list. It reads the list once more just before: Graph can't
// refuse a list that is out of date.
func (g *Graph) replace(ctx context.Context, before *Application, list []map[string]any) error {
	now, err := g.current(ctx, before.ClientID)
	if err != nil {
		return err
	}
	if missing, more := differ(before, now); len(missing)+len(more) > 0 {
		return othersChange()
	}
	_, err = g.call(ctx, http.MethodPatch, g.application(before.ClientID), map[string]any{"keyCredentials": list})
	return err
}

func (g *Graph) has(ctx context.Context, clientID string, cert *x509.Certificate) bool {
	a, err := g.read(ctx, clientID)
	if err != nil {
		return false
	}
	_, there := a.Find(cert)
	return there
}

// settled reads the application until what was added is there and what was removed is
// not, and returns what else has changed as an error. Graph's replicas agree within
// seconds.
func (g *Graph) settled(ctx context.Context, before *Application, added, removed *x509.Certificate) error {
	for pause := time.Second; ; pause = min(2*pause, mostPause) {
		now, err := g.read(ctx, before.ClientID)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && now.shows(added, removed):
			g.left[strings.ToLower(before.ClientID)] = now
			return lost(before, now, removed)
		}
		if !sleep.For(ctx, pause) {
			if e := interrupted(ctx, "Microsoft Graph"); ctx.Err() == context.Canceled {
				return e
			}
			return NewError(problem.Unsettled, "", "Microsoft Graph accepted the change but does not show it yet",
				"check in a few minutes: az ad app credential list --cert --id "+before.ClientID)
		}
	}
}

// shows reports whether what was added is there and what was removed is not; nil stands
// for nothing.
func (a *Application) shows(added, removed *x509.Certificate) bool {
	if added != nil {
		if _, there := a.Find(added); !there {
			return false
		}
	}
	if removed != nil {
		if _, still := a.Find(removed); still {
			return false
		}
	}
	return true
}

// lost returns an error where other certificates have disappeared: another client's
// list has replaced ours, or ours theirs.
func lost(before, now *Application, removed *x509.Certificate) error {
	missing, _ := differ(before, now)
	missing = slices.DeleteFunc(missing, func(k Key) bool { return removed != nil && k.is(removed) })
	if len(missing) == 0 {
		return nil
	}
	return NewError(problem.Unsettled, "", fmt.Sprintf("%d other certificate(s) of the application have disappeared, the first with keyId %s: another client changes them too", len(missing), clean(missing[0].ID, 60)),
		"compare with az ad app credential list --cert --id "+before.ClientID)
}

// differ compares two lists by keyId.
func differ(before, now *Application) (missing, more []Key) {
	in := func(list []Key, id string) bool {
		return slices.ContainsFunc(list, func(k Key) bool { return k.ID == id })
	}
	for _, k := range before.Keys {
		if !in(now.Keys, k.ID) {
			missing = append(missing, k)
		}
	}
	for _, k := range now.Keys {
		if !in(before.Keys, k.ID) {
			more = append(more, k)
		}
	}
	return missing, more
}
