package agent

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func selfSigned(t *testing.T, key crypto.Signer, notAfter time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "throw-away"},
		NotBefore:    notAfter.AddDate(-1, 0, 0),
		NotAfter:     notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func p12(t *testing.T, enc *pkcs12.Encoder, key any, leaf *x509.Certificate, chain ...*x509.Certificate) []byte {
	t.Helper()
	der, err := enc.Encode(key, leaf, chain, "")
	if err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(der))
}

// unpadded removes the padding, or a part of the last group if there is none: the
// length of a P12 varies.
func unpadded(text []byte) []byte {
	if cut := bytes.TrimRight(text, "="); len(cut) < len(text) {
		return cut
	}
	return text[:len(text)-1]
}

func TestLoadCertificate(t *testing.T) {
	leaf := selfSigned(t, rsaKey(), time.Now().AddDate(1, 0, 0))
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := selfSigned(t, ecKey, time.Now().AddDate(1, 0, 0))
	good := p12(t, pkcs12.Modern2023, rsaKey(), leaf)
	withPassword, err := pkcs12.Modern2023.Encode(rsaKey(), leaf, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		data []byte
		want string // part of the error; empty: it loads
	}{
		"one line":         {good, ""},
		"3DES":             {p12(t, pkcs12.LegacyDES, rsaKey(), leaf), ""},
		"root first":       {p12(t, pkcs12.Modern2023, rsaKey(), other, leaf), ""},
		"trailing newline": {append([]byte(string(good)), '\n'), "invalid byte 10, offset"},
		"CRLF":             {append([]byte(string(good)), '\r', '\n'), "invalid byte 13"},
		"wrapped":          {[]byte(string(good[:64]) + "\n" + string(good[64:])), "invalid byte 10, offset 64"},
		"BOM":              {append([]byte("\xef\xbb\xbf"), good...), "invalid byte 239, offset 0"},
		"no padding":       {unpadded(good), "invalid"},
		"empty":            {nil, "asn1"},
		"truncated":        {good[:len(good)/8*4], "asn1"},
		"RC2-40":           {p12(t, pkcs12.LegacyRC2, rsaKey(), leaf), "RC2"},
		"PBMAC1":           {p12(t, pkcs12.Modern2026, rsaKey(), leaf), "PBMAC1"},
		"no MAC":           {p12(t, pkcs12.Passwordless, rsaKey(), leaf), "mac absent"},
		"passphrase":       {[]byte(base64.StdEncoding.EncodeToString(withPassword)), "PKCS12 routines"},
		"not RSA":          {p12(t, pkcs12.Modern2023, ecKey, other), "RSA"},
		"key of another":   {p12(t, pkcs12.Modern2023, rsaKey(), other), "belongs to"},
		"PEM":              {[]byte("-----BEGIN CERTIFICATE-----"), "invalid byte 45"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := LoadCertificate(tt.data)
			if tt.want == "" {
				if err != nil || got.Thumbprint != thumbprint(leaf) {
					t.Fatalf("got %v, %v; want thumbprint %s", got, err, thumbprint(leaf))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func FuzzLoadCertificate(f *testing.F) {
	f.Add([]byte("MAA="))
	f.Add([]byte("MAMCAQA="))
	f.Add([]byte("\xef\xbb\xbfMAA="))
	f.Fuzz(func(t *testing.T, data []byte) {
		if cred, err := LoadCertificate(data); err == nil && len(cred.Thumbprint) != 40 {
			t.Fatalf("thumbprint %q", cred.Thumbprint)
		}
	})
}
