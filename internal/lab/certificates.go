package lab

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
	"golang.org/x/crypto/ssh"
	"software.sslmate.com/src/go-pkcs12"
)

// The certificate files of a fleet, in its directory "certs".
const (
	OldCertificate     = "old.p12.b64"     // live on every machine; it expires in 20 days
	NewCertificate     = "new.p12.b64"     // the inventory's certificate; valid for two years
	RefusedCertificate = "refused.p12.b64" // valid, but not registered in Entra; absent with Options.Live and Options.New
)

// CertificatePath is the path of the agents' certificate.
const CertificatePath = "/etc/az-aoi-ingestion/certs/dp.p12"

const day = 24 * time.Hour

// certificates are the bytes of the fleet's certificate files.
type certificates struct{ old, new, refused []byte }

// CertificateFile returns the path of one of the fleet's certificate files, such as
// NewCertificate.
func (f *Fleet) CertificateFile(name string) string { return filepath.Join(f.dir, "certs", name) }

// OldThumbprint returns the SHA-1 thumbprint of the live certificate at the start,
// in upper-case hexadecimal; empty if the agent can't load that file.
func (f *Fleet) OldThumbprint() string { return f.thumbprint(f.certs.old) }

// NewThumbprint returns the same for the certificate to install.
func (f *Fleet) NewThumbprint() string { return f.thumbprint(f.certs.new) }

func (f *Fleet) thumbprint(data []byte) string {
	cred, err := f.load(bytes.TrimSpace(data))
	if err != nil {
		return ""
	}
	return cred.Thumbprint
}

// makeCertificates writes the certificate files and the list of those that
// "Entra" accepts. It creates only the keys that it needs, because that is slow.
func (f *Fleet) makeCertificates() error {
	f.certs = certificates{old: f.opts.Live, new: f.opts.New}
	if f.certs.old == nil || f.certs.new == nil {
		made, err := newCertificates(time.Now())
		if err != nil {
			return err
		}
		f.certs.refused = made.refused
		if f.certs.old == nil {
			f.certs.old = made.old
		}
		if f.certs.new == nil {
			f.certs.new = made.new
		}
	}
	return f.writeCertificates()
}

// newCertificates creates three certificates with two keys.
func newCertificates(now time.Time) (certificates, error) {
	keys, err := twoKeys()
	if err != nil {
		return certificates{}, err
	}
	old, errOld := selfSigned(keys[0], 1, now.Add(-345*day), now.Add(20*day))
	fresh, errNew := selfSigned(keys[1], 2, now.Add(-time.Hour), now.Add(730*day))
	refused, errRefused := selfSigned(keys[1], 3, now.Add(-time.Hour), now.Add(730*day))
	return certificates{old: old, new: fresh, refused: refused}, errors.Join(errOld, errNew, errRefused)
}

func (f *Fleet) writeCertificates() error {
	if err := os.MkdirAll(filepath.Join(f.dir, "certs"), 0o700); err != nil {
		return err
	}
	files := map[string][]byte{OldCertificate: f.certs.old, NewCertificate: f.certs.new}
	if f.certs.refused != nil {
		files[RefusedCertificate] = f.certs.refused
	}
	for name, data := range files {
		if err := os.WriteFile(f.CertificateFile(name), data, 0o600); err != nil {
			return err
		}
	}
	if f.opts.Registered != nil {
		return nil
	}
	accepted := f.OldThumbprint() + "\n" + f.NewThumbprint() + "\n"
	return os.WriteFile(f.EntraFile(), []byte(accepted), 0o644)
}

// twoKeys makes the keys of all fleets of the process: the tests start a hundred.
var twoKeys = sync.OnceValues(func() (keys [2]*rsa.PrivateKey, err error) {
	var errs [2]error
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() { keys[i], errs[i] = rsa.GenerateKey(rand.Reader, 2048) })
	}
	wg.Wait()
	return keys, errors.Join(errs[:]...)
})

// selfSigned returns a certificate file in the documented form: the base64 of
// a P12 without passphrase, one line.
func selfSigned(key *rsa.PrivateKey, serial int64, from, to time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "aoi-agents.example.net"},
		NotBefore:    from,
		NotAfter:     to,
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pfx, err := pkcs12.Modern2023.Encode(key, leaf, nil, "")
	if err != nil {
		return nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(pfx)), nil
}

// writePrivateKey writes an OpenSSH private key.
func writePrivateKey(path string, key ed25519.PrivateKey) error {
	block, err := ssh.MarshalPrivateKey(key, "aoifleet lab")
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// memoise caches the results of load by file: a thousand agents with one
// certificate derive its keys once.
func memoise(load func([]byte) (agent.Credential, error)) func([]byte) (agent.Credential, error) {
	type result struct {
		once sync.Once
		cred agent.Credential
		err  error
	}
	var results sync.Map // by SHA-256, so that no key is stored
	return func(data []byte) (agent.Credential, error) {
		entry, _ := results.LoadOrStore(sha256.Sum256(data), new(result))
		r := entry.(*result)
		r.once.Do(func() { r.cred, r.err = load(data) })
		return r.cred, r.err
	}
}
