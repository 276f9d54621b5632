package certificate

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// The functions below build P12 files that no tool writes (RFC 7292).

func tlv(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	if len(body) < 0x80 {
		return append([]byte{tag, byte(len(body))}, body...)
	}
	size := big.NewInt(int64(len(body))).Bytes()
	return bytes.Join([][]byte{{tag, 0x80 | byte(len(size))}, size, body}, nil)
}

func seq(parts ...[]byte) []byte      { return tlv(0x30, parts...) }
func explicit(parts ...[]byte) []byte { return tlv(0xa0, parts...) }
func octets(b []byte) []byte          { return tlv(0x04, b) }

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// berOf gives each structure of der an indefinite length (X.690 section 8.1.3.6).
func berOf(der []byte) []byte {
	var out []byte
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			panic(err)
		}
		if v.IsCompound {
			out = append(append(append(out, v.FullBytes[0], 0x80), berOf(v.Bytes)...), 0, 0)
		} else {
			out = append(out, v.FullBytes...)
		}
		der = rest
	}
	return out
}

func oid(s string) []byte {
	var id asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil {
			panic(err)
		}
		id = append(id, n)
	}
	return must(asn1.Marshal(id))
}

func number(n *big.Int) []byte { return must(asn1.Marshal(n)) }

func certBag(c *x509.Certificate) []byte { return rawCertBag(c.Raw) }

func rawCertBag(der []byte) []byte {
	return seq(oid(oidCertBag), explicit(seq(oid(oidX509), explicit(octets(der)))))
}

func keyBag(key any) []byte {
	return seq(oid(oidKeyBag), explicit(must(x509.MarshalPKCS8PrivateKey(key))))
}

func nestedBag(bags ...[]byte) []byte { return seq(oid(oidNestedBag), explicit(seq(bags...))) }

func shroudedBag(key any, rounds int64) []byte {
	der := must(x509.MarshalPKCS8PrivateKey(key))
	return seq(oid(oidShroudedKeyBag), explicit(seq(pbes2(big.NewInt(rounds)), octets(encrypt(der, rounds)))))
}

func plainPart(bags ...[]byte) []byte {
	return seq(oid(oidData), explicit(octets(seq(bags...))))
}

// sealedPart is an encrypted part with the empty passphrase.
func sealedPart(bags ...[]byte) []byte {
	return partWith(pbes2(big.NewInt(2048)), encrypt(seq(bags...), 2048))
}

func partWith(algorithm, data []byte) []byte {
	content := seq(oid(oidData), algorithm, tlv(0x80, data))
	return seq(oid(oidEncryptedData), explicit(seq([]byte{2, 1, 0}, content)))
}

func file(parts ...[]byte) []byte {
	return seq([]byte{2, 1, 3}, seq(oid(oidData), explicit(octets(seq(parts...)))))
}

// pbes2 is PBKDF2 with SHA-256 and AES-256-CBC; salt and vector are zero.
func pbes2(rounds *big.Int) []byte {
	prf := seq(oid("1.2.840.113549.2.9"), []byte{5, 0})
	kdf := seq(oid(oidPBKDF2), seq(octets(make([]byte, 8)), number(rounds), prf))
	return seq(oid(oidPBES2), seq(kdf, seq(oid("2.16.840.1.101.3.4.1.42"), octets(make([]byte, 16)))))
}

// encrypt matches pbes2. Rounds above 2048 are not done: nothing gets as far
// as looking at the result.
func encrypt(plain []byte, rounds int64) []byte {
	key := must(pbkdf2.Key(sha256.New, "", make([]byte, 8), int(min(rounds, 2048)), 32))
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	out := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(out, out)
	return out
}

func loadCert(t testing.TB, dir, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(read(t, dir, name+".crt"))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loadKey(t testing.TB, dir, name string) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(read(t, dir, name+".key"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

// rootFirst is a chain in the order in which Key Vault exports it.
func rootFirst(t *testing.T, dir string) []byte {
	t.Helper()
	rest := []*x509.Certificate{loadCert(t, dir, "middle"), loadCert(t, dir, "issued")}
	return must(pkcs12.Modern2023.Encode(loadKey(t, dir, "agent"), loadCert(t, dir, "root"), rest, ""))
}

func TestRootFirst(t *testing.T) {
	const reencoded = "had another certificate before its own"
	chain := []string{"CN=middle.example", "CN=root.example"}
	key := loadKey(t, committed, "agent")
	byHand := file(sealedPart(certBag(loadCert(t, committed, "root")), certBag(loadCert(t, committed, "middle")),
		certBag(loadCert(t, committed, "issued"))), plainPart(shroudedBag(key, 2048)))
	tests := []struct {
		name  string
		der   []byte
		notes []string
	}{
		{"as Key Vault has it", rootFirst(t, committed), []string{"raw", reencoded}},
		{"without a MAC", byHand, []string{"raw", "had no MAC", reencoded}},
	}
	for _, tt := range tests {
		c := accept(t, tt.der)
		wantNotes(t, c.Notes, tt.notes...)
		if c.Leaf.Subject != "CN=issued.example" || len(c.Chain) != 2 || c.Chain[0].Subject != chain[0] || c.Chain[1].Subject != chain[1] {
			t.Errorf("%s: leaf %s, chain %v", tt.name, c.Leaf.Subject, c.Chain)
		}
	}
	if accept(t, rootFirst(t, committed)).Digest() != accept(t, byHand).Digest() {
		t.Error("the same contents are re-encoded differently")
	}
}

func TestFilesOfOtherEncoders(t *testing.T) {
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	tests := []struct {
		name, encryption string
		der              []byte
		notes            []string
	}{
		{"PBMAC1", "AES-256-CBC, MAC PBMAC1, 2048 iterations", must(pkcs12.Modern2026.Encode(key, leaf, nil, "")), []string{"raw", "PBMAC1"}},
		{"no protection", "none, no MAC", must(pkcs12.Passwordless.Encode(key, leaf, nil, "")), []string{"raw", "had no MAC"}},
		{"key before certificate", "AES-256-CBC, no MAC, 2048 iterations",
			file(plainPart(shroudedBag(key, 2048)), sealedPart(certBag(leaf))), []string{"raw", "had no MAC"}},
		{"one part", "none (certificates), AES-256-CBC (key), no MAC, 2048 iterations",
			file(plainPart(shroudedBag(key, 2048), certBag(leaf))), []string{"raw", "had no MAC"}},
		{"key in the encrypted part", "AES-256-CBC, no MAC, 2048 iterations",
			file(sealedPart(certBag(leaf), keyBag(key))), []string{"raw", "had no MAC"}},
		{"nested parts", "AES-256-CBC, no MAC, 2048 iterations",
			file(plainPart(nestedBag(shroudedBag(key, 2048))), sealedPart(nestedBag(nestedBag(certBag(leaf))))), []string{"raw", "had no MAC", "nested"}},
		{"three parts", "none, no MAC", file(plainPart(certBag(leaf)), plainPart(keyBag(key)), plainPart()), []string{"raw", "had no MAC", "more than two parts"}},
		{"a certificate that is not X.509", "none, no MAC",
			file(plainPart(certBag(leaf), seq(oid(oidCertBag), explicit(seq(oid("1.2.840.113549.1.9.22.2"), explicit(octets(nil))))), keyBag(key))),
			[]string{"raw", "had no MAC"}},
		{"certificate twice", "none, no MAC", file(plainPart(certBag(leaf), certBag(leaf), keyBag(key))), []string{"raw", "had no MAC"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := accept(t, tt.der)
			if c.Leaf.Subject != cn || len(c.Chain) != 0 || c.Encryption != tt.encryption {
				t.Errorf("%s, chain %v, %q", c.Leaf.Subject, c.Chain, c.Encryption)
			}
			wantNotes(t, c.Notes, tt.notes...)
		})
	}
}

func TestFilesThatNoToolWrites(t *testing.T) {
	key, other := loadKey(t, committed, "agent"), loadKey(t, committed, "other")
	leaf := loadCert(t, committed, "agent")
	certs, good := sealedPart(certBag(leaf)), plainPart(shroudedBag(key, 2048))
	deep := nestedBag()
	for range maxDepth + 1 {
		deep = nestedBag(deep)
	}
	rounds := func(n *big.Int) []byte { return file(partWith(pbes2(n), make([]byte, 32)), good) }
	huge := seq(oid(oidShroudedKeyBag), explicit(seq(pbes2(big.NewInt(1)), octets(make([]byte, maxKeyBag)))))
	scrypt := seq(oid(oidPBES2), seq(seq(oid("1.3.6.1.4.1.11591.4.11"), seq()), seq(oid("2.16.840.1.101.3.4.1.42"), octets(make([]byte, 16)))))
	gcm := seq(oid(oidPBES2), seq(seq(oid(oidPBKDF2), seq()), seq(oid("2.16.840.1.101.3.4.1.46"), seq())))
	tests := []struct {
		name    string
		der     []byte
		message string
	}{
		{"two keys", file(certs, plainPart(shroudedBag(key, 2048), keyBag(other))), "has 2 private keys, the agent needs exactly one"},
		{"second key out of sight", file(sealedPart(certBag(leaf), keyBag(other)), good), "has 2 private keys"},
		{"other key", must(pkcs12.Modern2023.Encode(other, leaf, nil, "")), "has a private key that belongs to none of its 1 certificates (CN=agent.example)"},
		{"rounds out of sight", file(sealedPart(certBag(leaf), shroudedBag(key, maxRounds))), "asks for too many key derivation rounds"},
		{"rounds out of sight beside a key", file(sealedPart(certBag(leaf), shroudedBag(other, 1<<40)), good), "asks for too many key derivation rounds"},
		{"no part", file(), "has neither a private key nor a certificate"},
		{"two keys, one nested", file(certs, plainPart(nestedBag(keyBag(other)), keyBag(key))), "has 2 private keys"},
		{"nested without end", file(plainPart(deep)), "has parts nested more than 8 deep"},
		{"PBMAC1 with a short key", bytes.ReplaceAll(must(pkcs12.Modern2026.Encode(key, leaf, nil, "")), []byte("\x02\x01\x20\x30"), []byte("\x02\x01\x13\x30")),
			"has a PBMAC1 MAC with an unsafe key length"},
		{"empty part", file(plainPart()), "has neither a private key nor a certificate"},
		{"signed", seq([]byte{2, 1, 3}, seq(oid("1.2.840.113549.1.7.2"), explicit(seq()))), "is protected by a signature"},
		{"enveloped part", file(seq(oid("1.2.840.113549.1.7.3"), explicit(seq()))), "has a part that is neither plain nor encrypted"},
		{"no rounds", rounds(big.NewInt(0)), "is damaged: a key derivation count below 1"},
		{"negative rounds", rounds(big.NewInt(-1)), "is damaged: a key derivation count below 1"},
		{"a round too many", rounds(big.NewInt(maxRounds + 1)), "asks for too many key derivation rounds"},
		{"2^31 rounds", rounds(big.NewInt(1 << 31)), "asks for too many key derivation rounds"},
		{"2^63 rounds", rounds(new(big.Int).Lsh(big.NewInt(1), 63)), "asks for too many key derivation rounds"},
		{"2^900 rounds", rounds(new(big.Int).Lsh(big.NewInt(1), 900)), "asks for too many key derivation rounds"},
		{"key that is too large", file(certs, plainPart(huge)), "has a private key of "},
		{"scrypt", file(partWith(scrypt, nil), good), "derives its key with an unsupported algorithm (scrypt)"},
		{"GCM", file(partWith(gcm, nil), good), "is encrypted with an unsupported algorithm (AES-256-GCM)"},
		{"RC4", file(partWith(seq(oid("1.2.840.113549.1.12.1.1"), seq()), nil), good), "is encrypted with an unsupported algorithm (RC4-128)"},
		{"unknown", file(partWith(seq(oid("1.2.3.4"), seq()), nil), good), "is encrypted with an unsupported algorithm (1.2.3.4)"},
		{"no ciphertext", file(partWith(pbes2(big.NewInt(1)), nil), good), "is "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.der, now)
			hint := ""
			if tt.name == "scrypt" || tt.name == "GCM" { // without a MAC the passphrase is not known to be empty
				hint = "openssl pkcs12 -in FILE -nodes |"
			}
			wantError(t, err, tt.message, hint)
		})
	}
}

// The work ends when its time is used up, wherever in the file the rounds are asked for.
func TestRoundsAreStopped(t *testing.T) {
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	for name, der := range map[string][]byte{
		"MAC":         must(pkcs12.Modern2023.WithIterations(4*roundsAtOnce).Encode(key, leaf, nil, "")),
		"PBMAC1":      must(pkcs12.Modern2026.WithIterations(4*roundsAtOnce).Encode(key, leaf, nil, "")),
		"legacy part": withoutMAC(must(pkcs12.LegacyRC2.WithIterations(4*roundsAtOnce).Encode(key, leaf, nil, ""))),
		"part":        file(partWith(pbes2(big.NewInt(maxRounds)), make([]byte, 32)), plainPart(keyBag(key))),
		"key in part": file(sealedPart(certBag(leaf), shroudedBag(key, maxRounds-2048))),
	} {
		checks := 0
		_, _, p := open(der, func() bool { checks++; return checks == 2 })
		if p == nil || !strings.HasPrefix(p.message, "takes longer than 10s to open: it asks for ") || checks != 2 {
			t.Errorf("%s: %v after %d checks", name, p, checks)
		}
	}
}

// withoutMAC cuts the MAC off.
func withoutMAC(der []byte) []byte {
	var outer pfx
	if p := unmarshal(der, &outer); p != nil {
		panic(p.message)
	}
	return seq([]byte{2, 1, 3}, seq(oid(oidData), explicit(outer.AuthSafe.Content.Bytes)))
}
