package certsource

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// issueWait is how long an issuer may take to answer in one call. Key Vault itself takes seconds.
const issueWait = 10 * time.Minute

// monthDays is the least that a vault lets a renewal be before the end, in days a month of the
// certificate's life: "LifetimeAction", Trigger.
const monthDays = 27

// Wanted is a version that a vault has to make. A zero value is what the certificate's policy
// has, or the default for a new one.
type Wanted struct {
	Subject      string // CN= and the certificate's name
	Issuer       string // Self
	Months, Bits int    // 12, 3072
	RenewBefore  int    // days before the end at which the vault renews it; -1: never
	PEM          bool   // an existing certificate may be kept as PEM, which Fetch converts
}

// Issued is a version that a vault has made, or is making.
type Issued struct {
	Ref         azure.Reference   // with the version, if there is a certificate
	Certificate *x509.Certificate // nil: an authority has to answer Request first
	Request     []byte            // PKCS#10, PEM
	Renews      string            // when the vault renews it, in words; "": it does not
}

// Issue lets a vault make a new version of a certificate, by its policy or, if there is no such
// certificate, by one that the agent can use. It waits until the version is complete or needs an
// authority's answer. A version that is being made already is waited for: there is no second one.
// A policy that is not usable, or not as wanted, is an error, and then nothing is made.
func (r *Reader) Issue(ctx context.Context, ref azure.Reference, w Wanted) (made *Issued, err error) {
	err = r.onVault(ctx, ref, func(ctx context.Context, v *azure.VaultCertificate) (err error) {
		made, err = r.issue(ctx, v, ref, w)
		return err
	})
	return made, err
}

// onVault calls do with access to a certificate, from where its vault is reached. do finds what an
// earlier call of it has begun.
func (r *Reader) onVault(ctx context.Context, ref azure.Reference, do func(ctx context.Context, v *azure.VaultCertificate) error) error {
	r.say("asking vault " + ref.Vault)
	return r.reach(ctx, ref, func(ctx context.Context, client *azure.Client) error {
		v, err := client.VaultCertificate(nil, ref)
		if err != nil {
			return err
		}
		return do(ctx, v)
	})
}

func (r *Reader) issue(ctx context.Context, v *azure.VaultCertificate, ref azure.Reference, w Wanted) (*Issued, error) {
	policy, err := v.Policy(ctx)
	if err != nil {
		return nil, err
	}
	var made *azure.Policy
	if policy == nil {
		if made, err = w.policy(ref.Name); err != nil {
			return nil, err
		}
		policy = made
	} else if err := w.check(policy, ref); err != nil {
		return nil, err
	}
	o, err := v.Create(ctx, made)
	if err != nil {
		return nil, err
	}
	if o.CarriedOn {
		r.note("a version was being made already: waiting for that one")
	}
	if o, err = v.Wait(ctx, issueWait); err != nil {
		return nil, err
	}
	return r.issued(ctx, v, ref, policy, o)
}

func (r *Reader) issued(ctx context.Context, v *azure.VaultCertificate, ref azure.Reference, policy *azure.Policy, o *azure.Operation) (*Issued, error) {
	if o.NeedsAnswer() {
		if _, err := requestOf(ref, o); err != nil {
			return nil, err
		}
		return &Issued{Ref: ref, Renews: policy.Renews(), Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: o.CSR})}, nil
	}
	made, err := r.newest(ctx, v, ref, policy)
	if err == nil && !madeBy(o, made.Certificate) {
		return nil, &problem.Error{Class: problem.Unexpected, Message: fmt.Sprintf("the newest version of %s, %s, is not the one that was made: it has another key than its request", ref, made.Ref.Version), Hint: versionsHint(ref)}
	}
	return made, err
}

// madeBy reports whether a certificate has the key of an operation's request, if that has one: a
// vault may show another version, older or of someone else, as the newest.
func madeBy(o *azure.Operation, cert *x509.Certificate) bool {
	if len(o.CSR) == 0 {
		return true
	}
	request, err := x509.ParseCertificateRequest(o.CSR)
	key, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return err == nil && ok && key.Equal(request.PublicKey)
}

func versionsHint(ref azure.Reference) string {
	return "az keyvault certificate list-versions --vault-name " + ref.Vault + " --name " + ref.Name
}

func (r *Reader) newest(ctx context.Context, v *azure.VaultCertificate, ref azure.Reference, policy *azure.Policy) (*Issued, error) {
	newest, err := v.Newest(ctx)
	switch {
	case err != nil:
		return nil, err
	case newest == nil:
		return nil, &problem.Error{Class: problem.Secret, Message: ref.String() + " has no enabled version", Hint: versionsHint(ref)}
	}
	made := &Issued{Ref: ref, Renews: policy.Renews()}
	made.Ref.Version = newest.ID
	made.Certificate, err = r.parsePublic(made.Ref, newest.DER)
	return made, err
}

func requestOf(ref azure.Reference, o *azure.Operation) (*x509.CertificateRequest, error) {
	request, err := x509.ParseCertificateRequest(o.CSR)
	if err != nil || request.CheckSignature() != nil {
		return nil, &problem.Error{Class: problem.Unexpected, Message: ref.String() + " has no readable request", Hint: "az keyvault certificate pending show --vault-name " + ref.Vault + " --name " + ref.Name}
	}
	return request, nil
}

// policy returns the policy of a new certificate. The error is a problem of class usage.
func (w Wanted) policy(name string) (*azure.Policy, error) {
	p := azure.NewPolicy(cmp.Or(w.Subject, "CN="+name), issuerName(cmp.Or(w.Issuer, azure.IssuerSelf)), cmp.Or(w.Months, 12), cmp.Or(w.Bits, 3072))
	p.RenewBefore(max(w.RenewBefore, 0))
	switch most := monthDays * p.X509.Months; {
	case w.RenewBefore > 0 && p.Issuer.Name == azure.IssuerUnknown:
		return nil, &problem.Error{Class: problem.Usage, Message: "a vault can't renew a certificate of an authority that it does not know", Hint: "leave out --renew-before, or name an issuer of the vault"}
	case w.RenewBefore > most:
		return nil, &problem.Error{Class: problem.Usage, Message: fmt.Sprintf("a vault renews this certificate at most %d days before its end", most), Hint: fmt.Sprintf("--renew-before %dd, or a longer life", most)}
	}
	return p, nil
}

// issuerName returns the name of an issuer with the case that Key Vault gives to its own two.
func issuerName(name string) string {
	for _, own := range []string{azure.IssuerSelf, azure.IssuerUnknown} {
		if strings.EqualFold(name, own) {
			return own
		}
	}
	return name
}

// check returns why the policy of an existing certificate is not usable or not as wanted: a vault
// has one for all versions, and this program does not change what others rely on.
func (w Wanted) check(p *azure.Policy, ref azure.Reference) error {
	change := fmt.Sprintf("use another name, or change the policy: az keyvault certificate set-attributes --vault-name %s --name %s --policy @FILE", ref.Vault, ref.Name)
	reason := p.Unusable()
	if p.PEM() && !w.PEM {
		reason = "its content type is PEM: the agent's file is PKCS#12 (application/x-pkcs12)"
	}
	if reason != "" {
		return &problem.Error{Class: problem.Certificate, Message: fmt.Sprintf("the policy of %s makes certificates that the agent can't use: %s", ref, reason), Hint: change}
	}
	asked := w
	asked.Months = cmp.Or(w.Months, p.X509.Months)
	wanted, err := asked.policy(ref.Name)
	if err != nil {
		return err
	}
	for _, s := range []struct {
		name      string
		given     bool
		has, want any
	}{
		{"--subject", w.Subject != "", p.X509.Subject, wanted.X509.Subject},
		{"--issuer", w.Issuer != "", issuerName(p.Issuer.Name), wanted.Issuer.Name},
		{"--days", w.Months != 0, fmt.Sprintf("%d months", p.X509.Months), fmt.Sprintf("%d months", wanted.X509.Months)},
		{"--bits", w.Bits != 0, cmp.Or(p.Key.Size, 2048), wanted.Key.Size},
		{"--renew-before", w.RenewBefore != 0, cmp.Or(p.Renews(), "no renewal"), cmp.Or(wanted.Renews(), "no renewal")},
	} {
		if s.given && s.has != s.want {
			return &problem.Error{Class: problem.Certificate, Message: fmt.Sprintf("%s exists, and its policy differs from %s: %v, not %v", ref, s.name, display.Shorten(display.Mask(fmt.Sprint(s.has)), 200), s.want), Hint: "leave " + s.name + " out, or " + change}
		}
	}
	return nil
}

// Merge completes the version that a vault is making with an authority's answer in files: PEM, DER
// or PKCS#7, in any order, with its issuers. The answer must have the key of the vault's request.
// An answer that was merged before is no error.
func (r *Reader) Merge(ctx context.Context, ref azure.Reference, files []string) (made *Issued, err error) {
	answers, err := certificate.ReadAnswerFiles(files)
	if err != nil {
		return nil, err
	}
	err = r.onVault(ctx, ref, func(ctx context.Context, v *azure.VaultCertificate) (err error) {
		made, err = r.merge(ctx, v, ref, answers)
		return err
	})
	return made, err
}

func (r *Reader) merge(ctx context.Context, v *azure.VaultCertificate, ref azure.Reference, answers *certificate.Answers) (*Issued, error) {
	o, err := v.Pending(ctx)
	if err != nil {
		return nil, err
	}
	again := fmt.Sprintf("aoifleet certificate new --in-keyvault %s/%s --issuer Unknown", ref.Vault, ref.Name)
	if o == nil {
		return nil, &problem.Error{Class: problem.Secret, Message: ref.String() + " has no request that waits for an answer", Hint: again}
	}
	request, err := requestOf(ref, o)
	if err != nil {
		return nil, err
	}
	chain, err := answers.For(request.PublicKey, r.Now)
	if err != nil {
		return nil, err
	}
	if !o.Completed() { // also one that the vault's issuer refused
		if err := v.Merge(ctx, chain); err != nil {
			return nil, err
		}
	}
	policy, err := v.Policy(ctx)
	if err != nil {
		return nil, err
	}
	made, err := r.newest(ctx, v, ref, policy)
	if err == nil && !made.Certificate.Equal(chain[0]) {
		return nil, &problem.Error{Class: problem.Secret, Message: ref.String() + " has no request that waits for this answer, and its newest version is another certificate", Hint: again}
	}
	return made, err
}
