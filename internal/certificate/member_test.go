package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// authority makes the certificate of an authority with openssl, and one for agent.key that
// it issued.
const authority = `openssl req -x509 -new -key ca.key -subj "$NAME" -days 36500 $CA -out ca.crt &&
openssl req -new -key "$KEY" -subj /CN=odd.example -out leaf.csr &&
openssl x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days 36500 -out leaf.crt 2>/dev/null`

// odd are certificates that OpenSSL opens and Go's parser refuses. The command writes
// leaf.crt and perhaps ca.crt.
var odd = []struct {
	name, command string
	why           string // "": the file is accepted whole
	inChain       bool   // the odd one is ca.crt
}{
	{"negative serial", `openssl req -x509 -new -key "$KEY" -subj /CN=odd.example -days 36500 -set_serial -5 -out leaf.crt`,
		"certificate 1 of 1 (CN=odd.example): negative serial number", false},
	{"UTF-8 in a dNSName", `openssl req -x509 -new -key "$KEY" -subj /CN=odd.example -days 36500 -addext 'subjectAltName=DNS:münchen.example' -out leaf.crt`,
		"certificate 1 of 1 (CN=odd.example): SAN dNSName is malformed", false},
	{"unusable URI", `openssl req -x509 -new -key "$KEY" -subj /CN=odd.example -days 36500 -addext 'subjectAltName=URI:http://[agent' -out leaf.crt`,
		"certificate 1 of 1 (CN=odd.example): cannot parse URI", false},
	{"address of five bytes", `openssl req -x509 -new -key "$KEY" -subj /CN=odd.example -days 36500 -addext 'subjectAltName=DER:30:07:87:05:01:02:03:04:05' -out leaf.crt`,
		"certificate 1 of 1 (CN=odd.example): cannot parse IP address of length 5", false},
	{"brainpool authority", `openssl ecparam -name brainpoolP256r1 -genkey -noout -out ca.key && ` + authority,
		"certificate 2 of 2 (CN=Authority): unsupported elliptic curve", true},
	{"explicit curve of the authority", `openssl ecparam -name prime256v1 -param_enc explicit -genkey -noout -out ca.key && ` + authority,
		"certificate 2 of 2 (CN=Authority): invalid ECDSA parameters", true},
	{"authority with a negative serial", `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key && CA='-set_serial -1' && ` + authority,
		"certificate 2 of 2 (CN=Authority): negative serial number", true},
	{"authority with a large exponent", `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:8589934593 -out ca.key 2>/dev/null && ` + authority, "", true},
	{"RSA-PSS authority", `openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out ca.key 2>/dev/null && ` + authority, "", true},
	{"Ed448 authority", `openssl genpkey -algorithm ED448 -out ca.key && ` + authority, "", true},
}

// oddFile runs the command of a case and returns a P12 of what it makes, in which openssl
// finds count certificates.
func oddFile(t *testing.T, command string) (dir string, der []byte, count int) {
	t.Helper()
	needOpenSSL(t)
	dir = t.TempDir()
	key, err := filepath.Abs(filepath.Join(committed, "agent.key"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", command+` && touch ca.crt && if [ -s ca.crt ]; then set -- -certfile ca.crt; fi &&
openssl pkcs12 -export -in leaf.crt -inkey "$KEY" -passout pass: -out odd.p12 "$@"`)
	cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "KEY="+key, "NAME=/CN=Authority", "CA=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	der = read(t, dir, "odd.p12")
	shown := openssl(t, der, "pkcs12", "-passin", "pass:", "-nokeys")
	return dir, der, bytes.Count(shown, []byte("BEGIN CERTIFICATE"))
}

// A certificate that openssl opens and Go does not is named with the cause; one that only
// belongs to the chain is left out.
func TestCertificatesThatGoRefuses(t *testing.T) {
	for _, tt := range odd {
		t.Run(tt.name, func(t *testing.T) {
			dir, der, count := oddFile(t, tt.command)
			checkPublicOf(t, dir, der)
			if want := 1 + strings.Count(tt.command, "-CA ca.crt"); count != want {
				t.Fatalf("openssl shows %d certificates, want %d", count, want)
			}
			chain := read(t, dir, "leaf.crt")
			if tt.inChain {
				chain = join(chain, read(t, dir, "ca.crt"))
			}
			key := read(t, committed, "agent.key")
			if !tt.inChain {
				_, err := Parse(der, now)
				wantError(t, err, "has an unreadable certificate for its key: "+tt.why, "certificate new")
				_, err = Pack(chain, key, now)
				wantError(t, err, "the pair has an unreadable certificate for its key: "+tt.why, "certificate new")
				return
			}
			notes, others := []string{"left out of the chain: " + tt.why}, 0
			if tt.why == "" {
				notes, others = nil, 1
			}
			c := accept(t, base64Line(der))
			wantNotes(t, c.Notes, notes...)
			if c.Leaf.Subject != "CN=odd.example" || len(c.Chain) != others || c.Normalised != (tt.why != "") {
				t.Errorf("%v, chain %v, normalised %v", c, c.Chain, c.Normalised)
			}
			readBack(t, c, filepath.Join(dir, "leaf.crt"))
			packed, err := Pack(chain, key, now)
			if err != nil || len(packed.Chain) != others {
				t.Fatalf("%v, %v", packed, err)
			}
			wantNotes(t, packed.Notes, notes...)
		})
	}
}

// checkPublicOf: what a host sends is shown as openssl shows it, also where Go's parser refuses
// it.
func checkPublicOf(t *testing.T, dir string, der []byte) {
	t.Helper()
	info, err := ParsePublic(openssl(t, der, "pkcs12", "-passin", "pass:", "-nokeys"))
	if err != nil {
		t.Fatal(err)
	}
	shown := string(openssl(t, nil, "x509", "-in", filepath.Join(dir, "leaf.crt"), "-noout", "-nameopt", "RFC2253,utf8", "-subject", "-serial",
		"-fingerprint", "-sha1", "-dateopt", "iso_8601", "-enddate"))
	end := info.NotAfter.Format("2006-01-02 15:04:05Z")
	for _, want := range []string{"subject=" + info.Subject + "\n", "serial=" + info.Serial + "\n", "=" + info.Thumbprint, "notAfter=" + end} {
		if !strings.Contains(strings.ReplaceAll(shown, ":", ""), strings.ReplaceAll(want, ":", "")) {
			t.Errorf("%q is not in %s", want, shown)
		}
	}
}

// Strings with characters that their type does not have are in certificates of old
// authorities. openssl makes none: a good one is changed.
func TestOldEncodings(t *testing.T) {
	needOpenSSL(t)
	leaf, key := loadCert(t, committed, "agent"), loadKey(t, committed, "agent")
	block, _ := pem.Decode(read(t, committed, "other.crt"))
	replaced := func(old, text string) []byte {
		if !bytes.Contains(block.Bytes, []byte(old)) {
			t.Fatalf("no %q", old)
		}
		return bytes.ReplaceAll(block.Bytes, []byte(old), []byte(text))
	}
	for _, tt := range []struct {
		name, why string
		der       []byte
	}{
		{"underscore in a PrintableString", "(CN=other_example): invalid RDNSequence", replaced("\x0c\x0dother.example", "\x13\x0dother_example")},
		{"a name of two words", "", replaced("\x0c\x0dother.example", "\x0c\x0dother example")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			der := file(plainPart(certBag(leaf), rawCertBag(tt.der), keyBag(key)))
			shown := openssl(t, der, "pkcs12", "-passin", "pass:", "-nokeys", "-nomacver")
			if bytes.Count(shown, []byte("BEGIN CERTIFICATE")) != 2 {
				t.Fatalf("openssl shows %s", shown)
			}
			c := accept(t, der)
			if tt.why == "" {
				wantNotes(t, c.Notes, "raw", "no MAC")
				return
			}
			wantNotes(t, c.Notes, "raw", "no MAC", "left out of the chain: certificate 2 of 2 "+tt.why)
		})
	}
}

// An unreadable certificate is known as the key's own, beside a chain or alone.
func TestUnreadableCertificateOfTheKey(t *testing.T) {
	leaf := loadCert(t, committed, "agent")
	serial := leaf.SerialNumber.Bytes()
	negative := bytes.Replace(leaf.Raw, serial, append([]byte{serial[0] | 0x80}, serial[1:]...), 1)
	for name, bags := range map[string][]byte{"1 of 1": nil, "1 of 2": certBag(loadCert(t, committed, "root"))} {
		der := file(plainPart(rawCertBag(negative), bags, keyBag(loadKey(t, committed, "agent"))))
		_, err := Parse(der, now)
		wantError(t, err, "has an unreadable certificate for its key: certificate "+name+" (CN=agent.example): negative serial number", "certificate new")
	}
}

// Issuers follow what they issued; what belongs to none of them comes last.
func TestInOrder(t *testing.T) {
	get := func(name string) *x509.Certificate { return loadCert(t, committed, name) }
	var got []string
	for _, c := range inOrder(get("issued"), []*x509.Certificate{get("middle"), get("other"), get("root")}) {
		got = append(got, c.Subject.CommonName)
	}
	if want := []string{"middle.example", "root.example", "other.example"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A hostile file can't fill the screen with notes.
func TestManyUnreadableCertificates(t *testing.T) {
	bags := [][]byte{certBag(loadCert(t, committed, "agent")), keyBag(loadKey(t, committed, "agent"))}
	for n := range 1000 {
		bags = append(bags, rawCertBag([]byte{0x30, 2, byte(n >> 8), byte(n)}))
	}
	c := accept(t, []byte(base64.StdEncoding.EncodeToString(file(plainPart(bags...)))))
	if n := len(c.Notes); n != maxLeftOut+2 || c.Notes[n-1] != "left out of the chain: 992 more certificates" {
		t.Errorf("notes %q", c.Notes)
	}
}
