package certificate

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// maxAnswers is how many files of answers are read: each host has one, and its chain.
const maxAnswers = 20_000

// Answers are the certificates that an authority returned, in any number of files, with
// their issuers.
type Answers struct {
	certs  []*x509.Certificate
	known  map[string]bool // by DER
	Unread []string        // files without a certificate, and why
}

// ReadAnswers reads all certificates in the files of a folder: PEM, DER or PKCS#7. It leaves
// out what is no certificate. Every error is a *problem.Error.
func ReadAnswers(folder string) (*Answers, error) { return readAnswers(folder, maxAnswers) }

func readAnswers(folder string, most int) (*Answers, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, flawed(hintReadable, "%s", reason(err)).at(folder).problem()
	}
	if len(entries) > most {
		return nil, flawed("keep only the answers of these hosts there", "has more than %d files", most).at(folder).problem()
	}
	a := &Answers{known: map[string]bool{}}
	for _, e := range entries {
		if !e.IsDir() {
			a.read(filepath.Join(folder, e.Name()), e.Name())
		}
	}
	return a, nil
}

// ReadAnswerFiles is ReadAnswers for files, of which each must have a certificate.
func ReadAnswerFiles(paths []string) (*Answers, error) {
	a := &Answers{known: map[string]bool{}}
	for _, path := range paths {
		if a.read(path, path); len(a.Unread) > 0 {
			return nil, flawed("an answer is PEM, DER or PKCS#7; see what the file is: aoifleet certificate inspect FILE", "%s", a.Unread[0]).problem()
		}
	}
	return a, nil
}

// read adds the certificates of a file, each once.
func (a *Answers) read(path, name string) {
	data, err := localfile.Read(path, MaxSize+1)
	if err != nil {
		a.Unread = append(a.Unread, name+": "+reason(err))
		return
	}
	certs, p := readCerts(data)
	if p != nil {
		a.Unread = append(a.Unread, name+": "+p.message)
	}
	for _, m := range members(certs) {
		switch {
		case m.why != "":
			a.Unread = append(a.Unread, fmt.Sprintf("%s: %s", name, m))
		case !a.known[string(m.cert.Raw)]:
			a.known[string(m.cert.Raw)] = true
			a.certs = append(a.certs, m.cert)
		}
	}
}

// For returns the certificate for a public key, which must be valid at now and usable, and its
// issuers. Every error is a *problem.Error.
func (a *Answers) For(key crypto.PublicKey, now time.Time) ([]*x509.Certificate, error) {
	why := flawed("merge the authority's answer to this request; see what a file is: aoifleet certificate inspect FILE", "no certificate there has the key of the vault's request")
	for _, cert := range a.certs {
		if mine, isRSA := cert.PublicKey.(*rsa.PublicKey); !isRSA || !mine.Equal(key) {
			continue
		}
		_, p := publicOf([][]byte{cert.Raw}, now)
		if p == nil {
			return append([]*x509.Certificate{cert}, a.issuersOf(cert.Raw)...), nil
		}
		why = flawed(p.hint, "the answer %s", p.message)
	}
	return nil, why.problem()
}

// Pack makes the canonical P12 of a key, in PEM or DER, and the answer for it, with its
// issuers. It also returns the certificate alone, in PEM. The certificate must be valid at
// now. Every error is a *problem.Error.
func (a *Answers) Pack(key []byte, now time.Time) (c *Certificate, public []byte, err error) {
	private, p := readKey(key)
	if p != nil {
		return nil, nil, p.problem()
	}
	mine, p := usableKey(private)
	if p != nil {
		return nil, nil, p.ofPair().problem()
	}
	var raw [][]byte
	for _, cert := range a.certs {
		if mine.PublicKey.Equal(cert.PublicKey) {
			raw = append(raw, cert.Raw)
		}
	}
	if len(raw) == 0 {
		return nil, nil, flawed("put the authority's answer for it into the folder, and see what its files are: aoifleet certificate inspect FILE", "no certificate there has its key").problem()
	}
	for _, issuer := range a.issuersOf(raw[0]) {
		raw = append(raw, issuer.Raw)
	}
	found, p := match(contents{private, members(raw)})
	if p == nil {
		c, p = packed(found, now)
	}
	if p != nil {
		return nil, nil, p.problem()
	}
	return c, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: found.leaf.Raw}), nil
}

// issuersOf returns the issuers of a certificate, as far as the folder has them.
func (a *Answers) issuersOf(raw []byte) (chain []*x509.Certificate) {
	at := slices.IndexFunc(a.certs, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, raw) })
	for last := a.certs[at]; ; last = chain[len(chain)-1] {
		next := slices.IndexFunc(a.certs, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil
		})
		if next < 0 || slices.Contains(chain, a.certs[next]) || bytes.Equal(a.certs[next].Raw, raw) {
			return chain
		}
		chain = append(chain, a.certs[next])
	}
}
