package certificate

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The answer for a key is the valid one, then its issuers, whatever file and order they come in.
func TestAnswersForAKey(t *testing.T) {
	now, dir := time.Now(), t.TempDir()
	key := func(bits int) *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	mine, other, authority := key(2048), key(2048), key(2048)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	write := func(name string, serial int64, public *rsa.PublicKey, end time.Time) string {
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-2 * time.Hour), NotAfter: end}
		if name == "root" {
			template = root
		}
		der := must(x509.CreateCertificate(rand.Reader, template, root, public, authority))
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	top, expired := write("root", 1, &authority.PublicKey, time.Time{}), write("expired", 2, &mine.PublicKey, now.Add(-time.Hour))
	foreign, good := write("foreign", 3, &other.PublicKey, now.Add(time.Hour)), write("good", 4, &mine.PublicKey, now.Add(time.Hour))
	for _, tt := range []struct {
		files       []string
		chain       int
		words, hint string
	}{
		{[]string{top, foreign, expired, good, good}, 2, "", ""},
		{[]string{good}, 1, "", ""},
		{[]string{top, foreign}, 0, "no certificate there has the key of the vault's request", "merge the authority's answer"},
		{[]string{expired, top}, 0, "the answer has expired", "ask for a new RSA certificate"},
	} {
		a, err := ReadAnswerFiles(tt.files)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := a.For(&mine.PublicKey, now)
		if len(chain) != tt.chain || tt.chain > 0 && chain[0].SerialNumber.Int64() != 4 {
			t.Errorf("%v: %v, %v", tt.files, chain, err)
		}
		if tt.chain == 0 {
			wantError(t, err, tt.words, tt.hint)
		}
	}
	if _, err := ReadAnswerFiles([]string{good, dir + "/none"}); err == nil {
		t.Error("a file that is not there is no error")
	}
}
