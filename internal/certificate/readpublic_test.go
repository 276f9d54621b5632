package certificate

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A certificate alone, in any usual form, and the agent's file: its own certificate is read.
func TestReadPublicFile(t *testing.T) {
	get := func(name string) []byte { return read(t, committed, name) }
	dir := t.TempDir()
	for _, tt := range []struct {
		name    string
		data    []byte
		subject string
		message string
	}{
		{"PEM", get("agent.crt"), cn, ""},
		{"DER", get("agent.der"), cn, ""},
		{"CRLF", bytes.ReplaceAll(get("agent.crt"), []byte("\n"), []byte("\r\n")), cn, ""},
		{"with its key", get("pair.pem"), cn, ""},
		{"chain, root first", join(get("root.crt"), get("middle.crt"), get("issued.crt")), "CN=issued.example", ""},
		{"PKCS#7", pkcs7(t, "-nocrl", "-certfile", filepath.Join(committed, "issued.crt"), "-certfile", filepath.Join(committed, "chain.crt")), "CN=issued.example", ""},
		{"the agent's file", []byte(line(t, "chain.p12")), "CN=issued.example", ""},
		{"P12", get("default.p12"), cn, ""},
		{"two of them", join(get("agent.crt"), get("issued.crt")), "", "has 2 certificates, and which one is meant is unknown"},
		{"EC", get("ec.crt"), "", "has a key that is not RSA"},
		{"1024 bits", get("small.crt"), "", "has an RSA key of 1024 bits"},
		{"expired", get("expired.crt"), "", "has expired: CN=expired.example"},
		{"request", get("agent.csr"), "", "is a certificate request"},
		{"key alone", get("agent.key"), "", "key"},
		{"words", []byte("hello"), "", "is truncated"},
		{"nothing", nil, "", "is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			cert, err := ReadPublicFile(path, now)
			if tt.message != "" {
				wantError(t, err, path+": ", "")
				if !bytes.Contains([]byte(err.Error()), []byte(tt.message)) {
					t.Error(err)
				}
			} else if err != nil || Describe(cert).Subject != tt.subject {
				t.Errorf("%v, %v", cert, err)
			}
		})
	}
}

func TestParsePublicDER(t *testing.T) {
	cert, err := ParsePublicDER(read(t, committed, "agent.der"), now)
	if err != nil || Describe(cert).Subject != cn {
		t.Errorf("%v, %v", cert, err)
	}
	for name, message := range map[string]string{"ec": "has a key that is not RSA", "expired": "has expired"} {
		_, err := ParsePublicDER(loadCert(t, committed, name).Raw, now)
		wantError(t, err, message, "certificate new")
	}
}
