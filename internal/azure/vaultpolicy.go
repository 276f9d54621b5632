package azure

import (
	"cmp"
	"fmt"
	"strings"
)

// Issuers that every vault has: the certificate signs itself, or an authority that the vault
// does not know signs its request ("Certificate creation methods").
const (
	IssuerSelf    = "Self"
	IssuerUnknown = "Unknown"
)

// Policy is how a vault makes the next version of a certificate: "Create Certificate",
// CertificatePolicy.
type Policy struct {
	Key struct {
		Exportable bool   `json:"exportable"`
		Type       string `json:"kty"`
		Size       int    `json:"key_size,omitempty"`
		Reuse      bool   `json:"reuse_key"`
	} `json:"key_props"`
	Secret struct {
		ContentType string `json:"contentType"`
	} `json:"secret_props"`
	X509 struct {
		Subject string   `json:"subject"`
		EKUs    []string `json:"ekus,omitempty"`
		Usages  []string `json:"key_usage,omitempty"`
		Months  int      `json:"validity_months,omitempty"`
	} `json:"x509_props"`
	Actions []LifetimeAction `json:"lifetime_actions,omitempty"`
	Issuer  struct {
		Name string `json:"name"`
	} `json:"issuer"`
}

// LifetimeAction is what a vault does so many days before the end, or after a part of the life.
type LifetimeAction struct {
	Trigger struct {
		Days       int `json:"days_before_expiry,omitempty"`
		Percentage int `json:"lifetime_percentage,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"action_type"`
	} `json:"action"`
}

// The actions that a vault can take.
const (
	autoRenew     = "AutoRenew"
	emailContacts = "EmailContacts"
)

// NewPolicy returns a policy whose certificates the agent can use: an exportable RSA key of its
// own for each version, for a client. The vault renews nothing, see RenewBefore.
func NewPolicy(subject, issuer string, months, bits int) *Policy {
	p := &Policy{}
	p.Key.Exportable, p.Key.Type, p.Key.Size = true, "RSA", bits
	p.Secret.ContentType = typePKCS12
	p.X509.Subject, p.X509.Months = subject, months
	p.X509.EKUs, p.X509.Usages = []string{"1.3.6.1.5.5.7.3.2"}, []string{"digitalSignature"} // id-kp-clientAuth
	p.Issuer.Name = issuer
	p.RenewBefore(0)
	return p
}

// RenewBefore lets the vault renew the certificate so many days before its end; 0: it never does.
// A policy without any action would get the vault's default.
func (p *Policy) RenewBefore(days int) {
	a := LifetimeAction{}
	if a.Action.Type, a.Trigger.Days = autoRenew, days; days == 0 {
		a.Action.Type, a.Trigger.Percentage = emailContacts, 80
	}
	p.Actions = []LifetimeAction{a}
}

// Renews returns when the vault renews the certificate by itself, in words; "": it
// does not, or there is no policy.
func (p *Policy) Renews() string {
	if p == nil {
		return ""
	}
	for _, a := range p.Actions {
		switch {
		case !strings.EqualFold(a.Action.Type, autoRenew):
		case a.Trigger.Days > 0:
			return fmt.Sprintf("%d days before its end", a.Trigger.Days)
		default:
			return fmt.Sprintf("after %d%% of its life", a.Trigger.Percentage)
		}
	}
	return ""
}

// Unusable returns why the agent can't use what a vault makes by the policy, "" if it can. PEM
// counts as usable: Fetch's caller packs it.
func (p *Policy) Unusable() string {
	switch kind := p.Secret.ContentType; {
	case p.Key.Type != "RSA":
		return fmt.Sprintf("its key is of type %s: the agent needs RSA, in software", clean(cmp.Or(p.Key.Type, "(none)"), 40))
	case p.Key.Size != 0 && p.Key.Size < 2048: // 0 is the vault's default, 2048
		return fmt.Sprintf("its RSA key has %d bits: Entra needs 2048", p.Key.Size)
	case !p.Key.Exportable:
		return "its key is not exportable: the agent needs the key itself"
	case kind != typePKCS12 && kind != typePEM:
		return fmt.Sprintf("its content type is %q: the agent needs %s", clean(kind, 60), typePKCS12)
	}
	return ""
}

// PEM reports whether the vault keeps the certificate as PEM instead of PKCS#12.
func (p *Policy) PEM() bool { return p.Secret.ContentType == typePEM }
