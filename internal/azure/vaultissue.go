package azure

import (
	"context"
	"crypto/sha1" // #nosec: x5t is SHA-1 by definition
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxPages bounds the list of a certificate's versions: a page has 25.
const maxPages = 40

// VaultCertificate is a certificate in a Key Vault, of which new versions can be made. That needs
// the role Key Vault Certificates Officer.
type VaultCertificate struct {
	client *Client
	ref    Reference
	signIn *signIn
}

// VaultCertificate returns access to a certificate, which need not exist. A nil credential is the
// operator's, as in Fetch. The error is an *Error of class Configuration. It contacts nothing.
func (c *Client) VaultCertificate(credential azcore.TokenCredential, ref Reference) (*VaultCertificate, error) {
	if ref.Version != "" {
		return nil, configuration("write it as keyvault://VAULT/NAME", "%s names a version, which can't be changed", ref)
	}
	if credential == nil {
		var err error
		if credential, err = c.operator(); err != nil {
			return nil, err
		}
	}
	return &VaultCertificate{client: c, ref: ref, signIn: &signIn{TokenCredential: credential}}, nil
}

// get reads what a vault has at a path below the certificate. It reports whether there is any.
func (v *VaultCertificate) get(ctx context.Context, below, query string, into any) (found bool, err error) {
	err = v.client.inTime(ctx, v.ref, v.client.patience.Outage, func(try context.Context) (exchange, *Error) {
		text, x, failure := v.client.callVault(try, v.signIn, v.ref, http.MethodGet, below, query, nil)
		found = failure == nil
		switch {
		case x.status == http.StatusNotFound && strings.HasSuffix(vendorText(x.body).code, "CertificateNotFound"): // also Pending…
			return x, nil
		case failure != nil:
			return x, v.refusal(x, failure)
		case json.Unmarshal(text, into) != nil:
			return x, notTheService(x)
		}
		return x, nil
	})
	return found, err
}

// post sends a change. It repeats only what can't have changed anything; unknown is that it may
// have, without saying so.
func (v *VaultCertificate) post(ctx context.Context, below string, body, into any) (x exchange, err *Error) {
	for t := startWatch(); ; {
		var text []byte
		try, cancel := context.WithTimeout(ctx, v.client.patience.Outage)
		text, x, err = v.client.callVault(try, v.signIn, v.ref, http.MethodPost, below, "", body)
		cancel()
		switch {
		case err == nil && json.Unmarshal(text, into) != nil:
			return x, notTheService(x)
		case err == nil:
			return x, nil
		case ctx.Err() != nil:
			return x, interrupted(ctx, v.ref.Vault)
		case err.Class != problem.Unreachable || x.lasting() || x.mayBeDone() || !t.next(ctx, x.retryAfter, t.began, v.client.patience.Outage):
			return x, v.refusal(x, err)
		}
	}
}

// refusal is the error of an answer, with the right that these requests need.
func (v *VaultCertificate) refusal(x exchange, e *Error) *Error {
	switch text := vendorText(x.body); {
	case strings.HasPrefix(text.message, "Merge is forbidden"):
		e.Hint = "wait for its issuer: aoifleet certificate new --in-keyvault " + v.ref.Vault + "/" + v.ref.Name
	case x.status == http.StatusForbidden && text.message != "" && !byFirewall(e.Code, text.message):
		e.Hint = "it needs the role Key Vault Certificates Officer on the vault, or the access policy: certificates get, list, create"
	case e.Code == "ObjectIsDeletedButRecoverable":
		e.Hint = fmt.Sprintf("az keyvault certificate recover --vault-name %s --name %s, or use another name", v.ref.Vault, v.ref.Name)
	}
	return e
}

// Policy returns the certificate's policy, nil if there is no such certificate. Every error is an
// *Error, here and below.
func (v *VaultCertificate) Policy(ctx context.Context) (*Policy, error) {
	p := &Policy{}
	if found, err := v.get(ctx, "policy", "", p); !found || err != nil {
		return nil, err
	}
	return p, nil
}

// Operation is the creation of a version: "Get Certificate Operation".
type Operation struct {
	ID     string `json:"request_id"`
	Status string `json:"status"`
	CSR    []byte `json:"csr"` // PKCS#10 in DER
	Issuer struct {
		Name string `json:"name"`
	} `json:"issuer"`
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	// CarriedOn: it was in progress before Create was called.
	CarriedOn bool `json:"-"`
}

// InProgress reports whether the version is still being made. None is not.
func (o *Operation) InProgress() bool { return o != nil && strings.EqualFold(o.Status, "inProgress") }

// Completed reports whether the version is complete.
func (o *Operation) Completed() bool { return strings.EqualFold(o.Status, "completed") }

// NeedsAnswer reports whether an authority that the vault does not know has to sign the request,
// and its answer to be merged.
func (o *Operation) NeedsAnswer() bool {
	return o.InProgress() && (o.Issuer.Name == "" || strings.EqualFold(o.Issuer.Name, IssuerUnknown))
}

// Pending returns the creation of the last version, nil if there is none.
func (v *VaultCertificate) Pending(ctx context.Context) (*Operation, error) {
	o := &Operation{}
	if found, err := v.get(ctx, "pending", "", o); !found || err != nil {
		return nil, err
	}
	return o, nil
}

// Create begins a new version, by a policy, which is then the certificate's, or (nil) by that
// which it has. A creation that is in progress is returned instead: a vault has one at a time.
func (v *VaultCertificate) Create(ctx context.Context, p *Policy) (*Operation, error) {
	before, err := v.Pending(ctx)
	if err != nil {
		return nil, err
	}
	if before.InProgress() {
		before.CarriedOn = true
		return before, nil
	}
	o, body := &Operation{}, map[string]any{}
	if p != nil {
		body["policy"] = p
	}
	x, failure := v.post(ctx, "create", body, o)
	lost := failure != nil && x.mayBeDone()
	switch {
	case failure == nil:
		return o, nil
	case lost || x.status == http.StatusConflict:
		now, err := v.Pending(ctx)
		if err == nil && now != nil && (before == nil || now.ID != before.ID) {
			now.CarriedOn = !lost
			return now, nil
		}
	}
	if lost {
		failure.Message += "; whether a version is being created is unknown"
		failure.Hint = fmt.Sprintf("az keyvault certificate pending show --vault-name %s --name %s", v.ref.Vault, v.ref.Name)
	}
	return nil, failure
}

// Wait waits until the version that is being created is complete, for limit at the most, or until
// it needs an authority's answer.
func (v *VaultCertificate) Wait(ctx context.Context, limit time.Duration) (*Operation, error) {
	for t := startWatch(); ; {
		o, err := v.Pending(ctx)
		switch {
		case err != nil:
			return nil, err
		case o == nil:
			return nil, NewError(problem.Secret, "", fmt.Sprintf("the creation of %s was deleted in the vault", v.ref), "run it again")
		case o.NeedsAnswer(), o.Completed():
			return o, nil
		case !o.InProgress():
			return nil, NewError(problem.Refused, clean(o.Error.Code, 60), fmt.Sprintf("%s was not created: its issuer %s: %s%s", v.ref, clean(o.Issuer.Name, 60), clean(o.Status, 40), said(clean(o.Error.Message, maxText))),
				"correct it in the vault or at the issuer, then run it again")
		case !t.next(ctx, 0, t.began, limit):
			return nil, firstOf(interrupted(ctx, v.ref.Vault), NewError(problem.Unsettled, "", fmt.Sprintf("the issuer %s has not answered within %s", clean(o.Issuer.Name, 60), limit), "run it again later: it waits for the same version"))
		}
	}
}

// Merge completes the version that is being created with an authority's answer: the certificate,
// then its issuers.
func (v *VaultCertificate) Merge(ctx context.Context, chain []*x509.Certificate) error {
	var x5c [][]byte
	for _, cert := range chain {
		x5c = append(x5c, cert.Raw)
	}
	x, failure := v.post(ctx, "pending/merge", map[string]any{"x5c": x5c}, &struct{}{})
	if failure == nil {
		return nil
	}
	if x.mayBeDone() {
		failure.Message += "; whether it was merged is unknown"
		failure.Hint = "run it again: it says what the vault has"
	}
	return failure
}

// Version is a version of a certificate.
type Version struct {
	ID       string // 32 hex digits
	DER      []byte // the certificate; nil in the answer of Versions
	Disabled bool   // also one that is not complete
	Created  time.Time
	NotAfter time.Time // zero: unknown
	// Thumbprint is SHA-1 in upper-case hex, as Entra shows it; "": unknown.
	Thumbprint string
}

// bundle is a version as a vault shows it.
type bundle struct {
	ID         string `json:"id"`
	CER        []byte `json:"cer"`
	Thumbprint string `json:"x5t"` // base64url
	Attributes struct {
		Enabled *bool `json:"enabled"`
		Created int64 `json:"created"`
		Expires int64 `json:"exp"`
	} `json:"attributes"`
}

func (b bundle) version() (Version, bool) {
	v := Version{ID: strings.ToLower(path.Base(b.ID)), DER: b.CER, Created: encodable(time.Unix(b.Attributes.Created, 0).UTC())}
	v.Disabled = b.Attributes.Enabled != nil && !*b.Attributes.Enabled
	if sum, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(b.Thumbprint, "=")); err == nil && len(sum) == sha1.Size {
		v.Thumbprint = strings.ToUpper(hex.EncodeToString(sum))
	}
	if b.Attributes.Expires != 0 {
		v.NotAfter = encodable(time.Unix(b.Attributes.Expires, 0).UTC())
	}
	return v, secretVersion.MatchString(v.ID)
}

// Versions returns all versions, the newest first.
func (v *VaultCertificate) Versions(ctx context.Context) ([]Version, error) {
	var list []Version
	strange := notTheService(exchange{host: v.ref.Vault + "." + v.client.at.vaultSuffix})
	for query, n := "", 0; n < maxPages; n++ {
		var page struct {
			Value []bundle `json:"value"`
			Next  string   `json:"nextLink"`
		}
		if found, err := v.get(ctx, "versions", query, &page); !found || err != nil {
			return nil, err
		}
		for _, b := range page.Value {
			one, ok := b.version()
			if !ok {
				return nil, strange
			}
			list = append(list, one)
		}
		if page.Next == "" {
			slices.SortStableFunc(list, func(a, b Version) int { return b.Created.Compare(a.Created) })
			return list, nil
		}
		next, err := url.Parse(page.Next) // only the token is taken: the request stays at this vault
		if err != nil || next.Query().Get("$skiptoken") == "" {
			return nil, strange
		}
		query = "&" + url.Values{"$skiptoken": {next.Query().Get("$skiptoken")}}.Encode()
	}
	return nil, strange
}

// Newest returns the newest version that is complete and enabled, nil if there is none. While one
// is being created, a vault may show that one.
func (v *VaultCertificate) Newest(ctx context.Context) (*Version, error) {
	last, err := v.one(ctx, "")
	if err != nil || last == nil || last.DER != nil && !last.Disabled {
		return last, err
	}
	list, err := v.Versions(ctx)
	for i := 0; err == nil && i < len(list); i++ {
		if list[i].Disabled {
			continue
		}
		if last, err = v.one(ctx, list[i].ID); last != nil && last.DER != nil && !last.Disabled {
			return last, err
		}
	}
	return nil, err
}

func (v *VaultCertificate) one(ctx context.Context, id string) (*Version, error) {
	var b bundle
	if found, err := v.get(ctx, id, "", &b); !found || err != nil {
		return nil, err
	}
	one, ok := b.version()
	if !ok {
		return nil, notTheService(exchange{host: v.ref.Vault + "." + v.client.at.vaultSuffix})
	}
	return &one, nil
}
