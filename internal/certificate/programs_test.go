package certificate

import (
	"bytes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/x509"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Files that other programs made of agent.crt and agent.key with the empty passphrase:
//
//	gnutls.p12  certtool 3.7.9 --to-p12 --null-password
//	java.p12    Java 17, KeyStore.store without a password, -Dkeystore.pkcs12.legacy
//	nss.p12     pk12util of NSS 3.87 with 40 bit RC2: BER
func TestFilesOfOtherPrograms(t *testing.T) {
	needOpenSSL(t)
	for _, tt := range []struct{ file, encryption, note string }{
		{"gnutls", "AES-128-CBC, MAC SHA-256, 600000 iterations", "asks for 1800000 key derivation rounds"},
		{"java", "RC2-40 (certificates), 3DES (key), MAC SHA-1, 100000 iterations", "was encrypted with RC2-40"},
	} {
		der := read(t, committed, tt.file+".p12")
		c := accept(t, der)
		if c.Encryption != tt.encryption || !strings.Contains(strings.Join(c.Notes, "\n"), tt.note) {
			t.Errorf("%s: %s, %q", tt.file, c.Encryption, c.Notes)
		}
		shown := openssl(t, der, "pkcs12", "-passin", "pass:", "-nokeys", "-legacy")
		if info, err := ParsePublic(shown); err != nil || info != c.Leaf {
			t.Errorf("%s: openssl shows %v (%v), want %v", tt.file, info, err, c.Leaf)
		}
	}
	_, err := Parse(read(t, committed, "nss.p12"), now)
	wantError(t, err, "is BER with indefinite lengths", "openssl pkcs12 -in FILE -legacy -nodes")
}

// An empty passphrase is two zero bytes or none (RFC 7292 appendix B): programs write
// both, and OpenSSL takes one for the whole file.
func TestBothEmptyPassphrases(t *testing.T) {
	needOpenSSL(t)
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	zeros, none := []byte{0, 0}, []byte(nil)
	for name, passwords := range map[string][2][]byte{"zeros": {zeros, zeros}, "none": {none, none}, "both": {zeros, none}, "both, none first": {none, zeros}} {
		der := withMAC(file(plainPart(certBag(leaf)), plainPart(shrouded3DES(key, passwords[1]))), passwords[0])
		c, p := valid(der, now, never)
		if opened := opens(der); opened != (p == nil) {
			t.Errorf("%s: openssl opens it: %v; %v", name, opened, p)
		}
		if p == nil {
			readBack(t, c, filepath.Join(committed, "agent.crt"))
		}
	}
}

// Without a MAC nothing says which of the two it is.
func TestEmptyPassphraseWithoutMAC(t *testing.T) {
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	for name, password := range map[string][]byte{"zeros": {0, 0}, "none": nil} {
		c := accept(t, file(plainPart(certBag(leaf)), plainPart(shrouded3DES(key, password))))
		if c.Leaf.Subject != cn || c.Encryption != "none (certificates), 3DES (key), no MAC, 2048 iterations" {
			t.Errorf("%s: %v, %s", name, c, c.Encryption)
		}
	}
}

func opens(der []byte) bool {
	cmd := exec.Command("openssl", "pkcs12", "-passin", "pass:", "-nodes")
	cmd.Stdin = bytes.NewReader(der)
	return cmd.Run() == nil
}

func shrouded3DES(key any, password []byte) []byte {
	plain, salt := must(x509.MarshalPKCS8PrivateKey(key)), make([]byte, 8)
	block, err := des.NewTripleDESCipher(pkcs12Key(sha1.New, forKey, password, salt, 2048, 24, never))
	if err != nil {
		panic(err)
	}
	pad := 8 - len(plain)%8
	out := append(plain, bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, pkcs12Key(sha1.New, forIV, password, salt, 2048, 8, never)).CryptBlocks(out, out)
	algorithm := seq(oid("1.2.840.113549.1.12.1.3"), seq(octets(salt), number(big.NewInt(2048))))
	return seq(oid(oidShroudedKeyBag), explicit(seq(algorithm, octets(out))))
}

// withMAC adds a MAC with SHA-1 to a file without one.
func withMAC(der, password []byte) []byte {
	var outer pfx
	var content []byte
	if unmarshal(der, &outer) != nil || unmarshal(outer.AuthSafe.Content.Bytes, &content) != nil {
		panic("no PFX")
	}
	salt := make([]byte, 8)
	mac := hmac.New(sha1.New, pkcs12Key(sha1.New, forMAC, password, salt, 2048, sha1.Size, never))
	mac.Write(content)
	data := seq(seq(seq(oid("1.3.14.3.2.26"), []byte{5, 0}), octets(mac.Sum(nil))), octets(salt), number(big.NewInt(2048)))
	return seq([]byte{2, 1, 3}, seq(oid(oidData), explicit(outer.AuthSafe.Content.Bytes)), data)
}

// OpenSSL finds what is nested, and in more than two parts.
func TestOpenSSLReadsTheSame(t *testing.T) {
	needOpenSSL(t)
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	for name, der := range map[string][]byte{
		"nested": file(plainPart(nestedBag(shroudedBag(key, 2048))), sealedPart(nestedBag(nestedBag(certBag(leaf))))),
		"parts":  file(plainPart(certBag(leaf)), plainPart(keyBag(key)), plainPart()),
	} {
		shown := openssl(t, der, "pkcs12", "-passin", "pass:", "-nodes", "-nomacver")
		c := accept(t, der)
		if !bytes.Contains(shown, []byte("PRIVATE KEY")) || !bytes.Contains(shown, []byte("subject=CN = agent.example")) || c.Leaf.Subject != cn {
			t.Errorf("%s: openssl shows %s", name, shown)
		}
		readBack(t, c, filepath.Join(committed, "agent.crt"))
	}
}
