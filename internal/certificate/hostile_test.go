package certificate

import (
	"bytes"
	"crypto/sha1" // #nosec: for reading files that use it
	"crypto/x509/pkix"
	"math/big"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestShortDerivations: the limit of the time is for a file with many short key derivations
// too.
func TestShortDerivations(t *testing.T) {
	used := func() bool { return true }
	if key := pkcs12Key(sha1.New, forKey, nil, []byte("salt"), roundsAtOnce-1, 24, used); key != nil {
		t.Error("a key of PKCS#12 after the end of the time")
	}
	if key := pbkdf2Key(sha1.New, []byte("salt"), roundsAtOnce-1, 32, used); key != nil {
		t.Error("a key of PBKDF2 after the end of the time")
	}
}

// TestNameOfManyAttributes: a name of a megabyte takes no gigabytes.
func TestNameOfManyAttributes(t *testing.T) {
	for _, number := range []int{9, 10} { // of X.520; pkix has a field for 10
		sets := make(pkix.RDNSequence, 5000)
		for i := range sets {
			sets[i] = []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4 + number%2, number}, Value: "a"}}
		}
		sets = append(sets, []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "agent"}})
		var name pkix.Name
		name.FillFromRDNSequence(&sets)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		text := nameText(name)
		runtime.ReadMemStats(&after)
		if !strings.HasPrefix(text, "CN=agent") {
			t.Errorf("got %q", text)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("the text takes %d bytes", used)
		}
	}
}

// TestParametersAsOpenSSL: a file whose encryption OpenSSL does not read is refused, since
// the agent can't load it.
func TestParametersAsOpenSSL(t *testing.T) {
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	salt, iv := octets(make([]byte, 8)), octets(make([]byte, 16))
	text := func(b []byte) []byte { return append([]byte{0x0c}, b[1:]...) }
	for name, parts := range map[string][3][]byte{ // salt, key length, vector
		"usual":                 {salt, nil, iv},
		"with the key length":   {salt, {2, 1, 32}, iv},
		"another key length":    {salt, {2, 1, 16}, iv},
		"a salt that is text":   {text(salt), nil, iv},
		"salt of another kind":  {seq(oid(oidData)), nil, iv},
		"a vector that is text": {salt, nil, text(iv)},
	} {
		t.Run(name, func(t *testing.T) {
			kdf := seq(oid(oidPBKDF2), seq(parts[0], number(big.NewInt(2048)), parts[1], seq(oid("1.2.840.113549.2.9"), []byte{5, 0})))
			algorithm := seq(oid(oidPBES2), seq(kdf, seq(oid("2.16.840.1.101.3.4.1.42"), parts[2])))
			der := file(partWith(algorithm, encrypt(seq(certBag(leaf)), 2048)), plainPart(shroudedBag(key, 2048)))
			cmd := exec.Command("openssl", "pkcs12", "-passin", "pass:", "-nodes", "-nomacver", "-passout", "pass:")
			cmd.Stdin = bytes.NewReader(der)
			out, _ := cmd.CombinedOutput()
			want := bytes.Contains(out, []byte("BEGIN CERTIFICATE"))
			if _, err := Inspect(der); (err == nil) != want {
				t.Errorf("got %v; openssl opens it: %v: %s", err, want, out[:min(len(out), 400)])
			}
		})
	}
}

// TestUnknownPublicKey: the message says why the key can't be compared.
func TestUnknownPublicKey(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ed448", "-nodes", "-subj", "/CN=new", "-outform", "DER",
		"-keyout", filepath.Join(dir, "key"), "-out", filepath.Join(dir, "crt")).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	der := file(plainPart(rawCertBag(read(t, dir, "crt")), keyBag(loadKey(t, committed, "agent"))))
	if _, err := Inspect(der); err == nil || !strings.HasSuffix(problem.As(err).Message, "certificate 1 of 1 (CN=new): its public key is of an unknown type") {
		t.Errorf("got %v", err)
	}
}
