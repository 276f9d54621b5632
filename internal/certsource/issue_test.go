package certsource

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
)

// A version is the one that was made if it has the key of the request, or there is no request.
func TestMadeBy(t *testing.T) {
	made, _, err := certificate.New(pkix.Name{CommonName: "a"}, 2048, 24*time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, chain := made.KeyPair()
	own, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	_, request, err := certificate.NewRequest(pkix.Name{CommonName: "a"}, nil, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := pem.Decode(request)
	for name, tt := range map[string]struct {
		csr  []byte
		want bool
	}{"its own": {own, true}, "another": {other.Bytes, false}, "none": {nil, true}, "garbage": {[]byte("x"), false}} {
		if got := madeBy(&azure.Operation{CSR: tt.csr}, chain[0]); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
