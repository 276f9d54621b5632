package cloud

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // #nosec: x5t is SHA-1 by definition
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// CertificatePolicy is how a vault makes the versions of a certificate: "Certificate policy".
type CertificatePolicy struct {
	Key struct {
		Exportable bool   `json:"exportable"`
		Type       string `json:"kty"`
		Size       int    `json:"key_size"`
		Reuse      bool   `json:"reuse_key"`
	} `json:"key_props"`
	Secret struct {
		ContentType string `json:"contentType"`
	} `json:"secret_props"`
	X509 struct {
		Subject string   `json:"subject"`
		EKUs    []string `json:"ekus,omitempty"`
		Usages  []string `json:"key_usage,omitempty"`
		Months  int      `json:"validity_months"`
	} `json:"x509_props"`
	Actions []LifetimeAction `json:"lifetime_actions"`
	Issuer  struct {
		Name string `json:"name"`
	} `json:"issuer"`
}

// LifetimeAction is what a vault does at a time of a certificate's life.
type LifetimeAction struct {
	Trigger struct {
		Days       int `json:"days_before_expiry,omitempty"`
		Percentage int `json:"lifetime_percentage,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"action_type"` // AutoRenew or EmailContacts
	} `json:"action"`
}

// vaultText returns an error with a text of Key Vault, which begins like a sentence.
func vaultText(format string, args ...any) error { return textOfVault(fmt.Sprintf(format, args...)) }

type textOfVault string

func (e textOfVault) Error() string { return string(e) }

// check returns why a vault refuses a policy, nil if it does not.
func (p *CertificatePolicy) check(issuers map[string]bool) error {
	const most = 27 // days of a month, as "LifetimeAction" counts
	switch _, err := subjectOf(p.X509.Subject); {
	case err != nil:
		return vaultText("Property policy.x509_props.subject has invalid value %q", p.X509.Subject)
	case p.Key.Type != "RSA":
		return vaultText("The pretend vault makes keys of type RSA only")
	case p.Key.Size != 2048 && p.Key.Size != 3072 && p.Key.Size != 4096:
		return vaultText("Property policy.key_props.key_size has invalid value %d", p.Key.Size)
	case p.X509.Months < 1:
		return vaultText("Property policy.x509_props.validity_months has invalid value %d", p.X509.Months)
	case !issuers[p.Issuer.Name] && p.Issuer.Name != "Self" && p.Issuer.Name != "Unknown":
		return vaultText("Issuer %s was not found", p.Issuer.Name)
	}
	for _, a := range p.Actions {
		switch t := a.Trigger; {
		case a.Action.Type != "AutoRenew" && a.Action.Type != "EmailContacts":
			return vaultText("Property policy.lifetime_actions has invalid value %q", a.Action.Type)
		case (t.Days == 0) == (t.Percentage == 0), t.Days < 0 || t.Days > most*p.X509.Months, t.Percentage < 0 || t.Percentage > 99:
			return vaultText("Property policy.lifetime_actions.trigger has invalid value")
		}
	}
	return nil
}

// subjectOf reads CN=…,O=… without escapes.
func subjectOf(text string) (n pkix.Name, err error) {
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case value == "":
			return n, errors.New("empty")
		case name == "CN":
			n.CommonName = value
		case name == "O":
			n.Organization = []string{value}
		case name == "OU":
			n.OrganizationalUnit = []string{value}
		default:
			return n, errors.New(name)
		}
	}
	return n, nil
}

// Issuance is how the next certificates of a vault are made.
type Issuance struct {
	Polls  int    // how many requests for the pending operation find it in progress; below 0: all
	Refuse string // why the issuer refuses; "": it does not
}

// operation is the creation of a version: "Certificate operation".
type operation struct {
	id, version, status string // status: inProgress, completed, failed
	policy              CertificatePolicy
	key                 *rsa.PrivateKey
	csr                 []byte
	how                 Issuance
}

// vaultCertificate is a certificate of a vault besides its versions, which are those of the
// secret of the same name.
type vaultCertificate struct {
	policy  CertificatePolicy
	pending *operation // nil: none since it was created
	key     *rsa.PrivateKey
}

// AllowOfficer lets an application, or "" every user, create and read certificates (Key Vault
// Certificates Officer), or revokes that.
func (v *KeyVault) AllowOfficer(client string, yes bool) {
	v.cloud.set(func() { v.officers[strings.ToLower(client)] = yes })
}

// Issue sets how certificates are made from now on; at first they are made at once.
func (v *KeyVault) Issue(how Issuance) { v.cloud.set(func() { v.how = how }) }

// Created returns how many versions clients have begun.
func (v *KeyVault) Created() (n int) {
	v.cloud.set(func() { n = v.created })
	return n
}

// AddIssuer adds an issuer that policies may name, whose authority is the cloud's own.
func (v *KeyVault) AddIssuer(name string) { v.cloud.set(func() { v.issuers[name] = true }) }

// SetPolicy sets the policy of a certificate, whatever a vault would say to it.
func (v *KeyVault) SetPolicy(name string, p CertificatePolicy) {
	v.cloud.set(func() { v.certificate(name).policy = p })
}

// imported returns the policy that a vault makes for a certificate that is imported.
func imported(s StoredSecret) (p CertificatePolicy) {
	p.Key.Exportable, p.Key.Type, p.Key.Size = true, "RSA", 2048
	p.Secret.ContentType, p.Issuer.Name = s.ContentType, "Unknown"
	if cert, err := x509.ParseCertificate(s.Public); err == nil {
		p.X509.Subject, p.X509.Months = "CN="+cert.Subject.CommonName, 12
	}
	return p
}

// Renew makes the next version, as a vault does when a lifetime action of type AutoRenew is
// due. It returns the version.
func (v *KeyVault) Renew(name string) (string, error) {
	v.cloud.mu.Lock()
	defer v.cloud.mu.Unlock()
	c := v.certs[name]
	switch {
	case c == nil || len(v.secrets[name]) == 0:
		return "", fmt.Errorf("the vault has no certificate %s", name)
	case !slices.ContainsFunc(c.policy.Actions, func(a LifetimeAction) bool { return a.Action.Type == "AutoRenew" }):
		return "", fmt.Errorf("the policy of %s renews nothing", name)
	case c.policy.Issuer.Name == "Unknown":
		return "", fmt.Errorf("the issuer of %s is not known to the vault", name)
	}
	if err := v.begin(name, c.policy); err != nil {
		return "", err
	}
	return c.pending.version, v.finish(name)
}

// certificate returns a certificate, which it adds if there is none. The cloud is locked.
func (v *KeyVault) certificate(name string) *vaultCertificate {
	if v.certs[name] == nil {
		v.certs[name] = &vaultCertificate{}
	}
	return v.certs[name]
}

// begin makes the key and the request of a new version. The cloud is locked.
func (v *KeyVault) begin(name string, p CertificatePolicy) (err error) {
	c := v.certificate(name)
	o := &operation{id: hexID(), version: hexID(), status: "inProgress", policy: p, key: c.key, how: v.how}
	if o.key == nil || !p.Key.Reuse {
		if o.key, err = rsa.GenerateKey(rand.Reader, p.Key.Size); err != nil {
			return err
		}
	}
	subject, err := subjectOf(p.X509.Subject)
	if err != nil {
		return err
	}
	o.csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, o.key)
	if err == nil {
		c.policy, c.pending = p, o
	}
	return err
}

// finish lets the issuer of the pending operation answer. The cloud is locked.
func (v *KeyVault) finish(name string) error {
	o := v.certs[name].pending
	if o.how.Refuse != "" {
		o.status = "failed"
		return nil
	}
	subject, err := subjectOf(o.policy.X509.Subject)
	if err != nil {
		return err
	}
	now := v.cloud.options.Now()
	template := &x509.Certificate{SerialNumber: new(big.Int).SetBytes([]byte(o.id)), Subject: subject,
		NotBefore: now.Add(-10 * time.Minute), NotAfter: now.AddDate(0, o.policy.X509.Months, 0), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	parent, signer, chain := template, any(o.key), [][]byte(nil)
	if o.policy.Issuer.Name != "Self" {
		parent, signer = v.cloud.authority.cert, v.cloud.authority.key
		chain = append(chain, parent.Raw)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &o.key.PublicKey, signer)
	if err != nil {
		return err
	}
	return v.complete(name, append([][]byte{der}, chain...))
}

// complete stores the certificate of the pending operation, the first of chain, as a new
// version. The cloud is locked.
func (v *KeyVault) complete(name string, chain [][]byte) error {
	c := v.certs[name]
	o := c.pending
	var certs []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		certs = append(certs, cert)
	}
	if !o.key.PublicKey.Equal(certs[0].PublicKey) {
		return errOtherKey
	}
	value, err := secretValue(o.policy, o.key, certs)
	if err != nil {
		return err
	}
	v.secrets[name] = append(v.secrets[name], StoredSecret{Value: value, ContentType: o.policy.Secret.ContentType, Public: chain[0], Version: o.version,
		Created: v.cloud.options.Now(), NotBefore: certs[0].NotBefore, Expires: certs[0].NotAfter})
	o.status, c.key = "completed", o.key
	return nil
}

// errOtherKey is Key Vault's own text: "Creating and merging a certificate signing request in Key Vault".
var errOtherKey = vaultText("The public key of the end-entity certificate in the specified X.509 certificate content does not match the public part of the specified private key. Please check if certificate is valid.")

// secretValue returns the content of a certificate's secret.
func secretValue(p CertificatePolicy, key *rsa.PrivateKey, certs []*x509.Certificate) (string, error) {
	if p.Secret.ContentType == "application/x-pkcs12" && p.Key.Exportable {
		pfx, err := pkcs12.LegacyDES.Encode(key, certs[0], certs[1:], "")
		return base64.StdEncoding.EncodeToString(pfx), err
	}
	var text bytes.Buffer
	if p.Key.Exportable {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return "", err
		}
		_ = pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for _, cert := range certs {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return text.String(), nil
}

func hexID() string { return strings.ReplaceAll(newID(), "-", "") }

// x5t is the thumbprint of a certificate as Key Vault shows it.
func x5t(der []byte) string {
	sum := sha1.Sum(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
