package certificate

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1" // #nosec: for reading files that use it
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// The rounds of every key derivation count, to the limit itself.
func TestRoundsAreLimited(t *testing.T) {
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	for name, encoder := range map[string]*pkcs12.Encoder{"usual": pkcs12.Modern2023, "PBMAC1": pkcs12.Modern2026, "RC2": pkcs12.LegacyRC2} {
		_, l, p := open(must(encoder.WithIterations(1000).Encode(key, leaf, nil, "")), never)
		if p != nil || l.total != 3000 {
			t.Errorf("%s: %d rounds, %v", name, l.total, p)
		}
	}
	var l layout
	if p := l.addIterations(big.NewInt(maxRounds)); p != nil || l.iterations != maxRounds {
		t.Errorf("%v, %v", l, p)
	}
	if p := l.addIterations(big.NewInt(1)); p == nil {
		t.Error("a round more than allowed")
	}
	for total, want := range map[int64]int{maxKept: 0, maxKept + 1: 1} {
		if notes := (layout{mac: "SHA-256", total: total}).oddities(); len(notes) != want {
			t.Errorf("%d rounds: %q", total, notes)
		}
	}
}

// A key derivation looks at the clock before its first round, and does no block that is not
// needed.
func TestChecksOfTheTime(t *testing.T) {
	for rounds, want := range map[int]int{1: 0, roundsAtOnce: 1, roundsAtOnce + 1: 1, roundsAtOnce + 2: 2} {
		checks := 0
		count := func() bool { checks++; return false }
		if key := pbkdf2Key(sha256.New, nil, rounds, sha256.Size, count); len(key) != sha256.Size || checks != want {
			t.Errorf("PBKDF2, %d rounds: %d checks", rounds, checks)
		}
		checks = 0
		if key := pkcs12Key(sha1.New, forMAC, nil, nil, rounds, sha1.Size, count); len(key) != sha1.Size || checks != want {
			t.Errorf("PKCS#12, %d rounds: %d checks", rounds, checks)
		}
	}
}

// A key of several blocks is that of the library.
func TestLongKeys(t *testing.T) {
	for _, size := range []int{32, 33, 64, 70} {
		want := must(pbkdf2.Key(sha256.New, "", []byte("salt"), 3, size))
		if got := pbkdf2Key(sha256.New, []byte("salt"), 3, size, never); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %x, want %x", size, got, want)
		}
	}
}

func TestFill(t *testing.T) {
	for pattern, want := range map[string]string{"": "", "ab": "abab", "abc": "abca", "abcd": "abcd", "abcde": "abcdeabc"} {
		if got := string(fill([]byte(pattern), 4)); got != want {
			t.Errorf("%q: %q", pattern, got)
		}
	}
}

// The vectors of RFC 2268 section 5 for keys all of whose bits count.
func TestRC2Vectors(t *testing.T) {
	for _, v := range [][3]string{ // key, plain, encrypted
		{"ffffffffffffffff", "ffffffffffffffff", "278b27e42e2f0d49"},
		{"3000000000000000", "1000000000000001", "30649edf9be7d2c2"},
		{"88bca90e90875a7f0f79c384627bafb2", "0000000000000000", "2269552ab0f85ca6"},
	} {
		block, err := newRC2(must(hex.DecodeString(v[0])))
		if err != nil {
			t.Fatal(err)
		}
		plain := make([]byte, 8)
		block.Decrypt(plain, must(hex.DecodeString(v[2])))
		if got := hex.EncodeToString(plain); got != v[1] {
			t.Errorf("%s: %s, want %s", v[0], got, v[1])
		}
	}
	for _, size := range []int{4, 17} {
		if _, err := newRC2(make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes", size)
		}
	}
}

// What is decrypted is a SEQUENCE with one to a block of padding bytes, or the password is
// another.
func TestPaddingOfBlocks(t *testing.T) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, aes.BlockSize)
	for _, tt := range []struct {
		name, plain string
		iv          []byte
		body        int // -1: refused
	}{
		{"one byte", "0" + strings.Repeat("x", 30) + "\x01", iv, 31},
		{"a block", "0" + strings.Repeat("x", 15) + strings.Repeat("\x10", 16), iv, 16},
		{"more than a block", "0" + strings.Repeat("x", 14) + strings.Repeat("\x11", 17), iv, -1},
		{"none", "0" + strings.Repeat("x", 30) + "\x00", iv, -1},
		{"another byte", "0" + strings.Repeat("x", 29) + "\x01\x02", iv, -1},
		{"no SEQUENCE", "1" + strings.Repeat("x", 30) + "\x01", iv, -1},
		{"nothing", "", iv, -1},
		{"half a block", "0xxxxxx\x01", iv, -1},
		{"short vector", "0" + strings.Repeat("x", 30) + "\x01", iv[:8], -1},
	} {
		data := []byte(tt.plain)
		if len(data)%aes.BlockSize == 0 {
			cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
		}
		body, ok := decryptCBC(block, tt.iv, data)
		if ok != (tt.body >= 0) || ok && string(body) != tt.plain[:tt.body] {
			t.Errorf("%s: %q, %v", tt.name, body, ok)
		}
	}
}

// A PBMAC1 key has 20 to 64 bytes; other algorithms of a MAC are named.
func TestMACsThatAreRefused(t *testing.T) {
	key, leaf := loadKey(t, committed, "agent"), loadCert(t, committed, "agent")
	good := must(pkcs12.Modern2026.Encode(key, leaf, nil, ""))
	length := func(n byte) []byte {
		return bytes.ReplaceAll(good, []byte("\x02\x01\x20\x30"), []byte{2, 1, n, 0x30})
	}
	hmacSHA256, hmacMD5 := derOID("1.2.840.113549.2.9"), derOID("1.2.840.113549.2.5")
	last := bytes.LastIndex(good, hmacSHA256)
	scheme := append(append(bytes.Clone(good[:last]), hmacMD5...), good[last+len(hmacMD5):]...)
	inKDF := bytes.LastIndex(good[:last], hmacSHA256)
	kdf := append(append(bytes.Clone(good[:inKDF]), hmacMD5...), good[inKDF+len(hmacMD5):]...)
	sha := must(pkcs12.Modern2023.Encode(key, leaf, nil, ""))
	const another = "is protected with a passphrase (or damaged)" // the MAC does not fit
	for _, tt := range []struct {
		name    string
		der     []byte
		message string
	}{
		{"19 bytes", length(19), "has a PBMAC1 MAC with an unsafe key length"},
		{"20 bytes", length(20), another},
		{"64 bytes", length(64), another},
		{"65 bytes", length(65), "has a PBMAC1 MAC with an unsafe key length"},
		{"MD5", scheme, "has an unsupported MAC (MD5): re-encode it"},
		{"MD5 in the key derivation", kdf, "derives its key with an unsupported algorithm (MD5): re-encode it"},
		{"unknown", bytes.Replace(sha, derOID("2.16.840.1.101.3.4.2.1"), derOID("2.16.840.1.101.3.4.2.9"), 1), "has an unsupported MAC (2.16.840.1.101.3.4.2.9)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.der, now)
			wantError(t, err, tt.message, "")
		})
	}
	for length, want := range map[int]string{64: "", 65: "…"} {
		if got := algorithmName(strings.Repeat("1", length)); got != strings.Repeat("1", 64)+want {
			t.Errorf("a number of %d bytes: %s", length, got)
		}
	}
}

// Parts may be nested to the limit, and a key bag may be as large as it.
func TestPartsAreLimited(t *testing.T) {
	key, deep := loadKey(t, committed, "agent"), certBag(loadCert(t, committed, "agent"))
	for range maxDepth {
		deep = nestedBag(deep)
	}
	accept(t, file(plainPart(deep), plainPart(keyBag(key))))
	_, err := Parse(file(plainPart(nestedBag(deep)), plainPart(keyBag(key))), now)
	wantError(t, err, "has parts nested more than 8 deep", "")
	for size, message := range map[int]string{maxKeyBag: "has an unreadable private key", maxKeyBag + 1: "has a private key of 12289 bytes, which is too large"} {
		bag := seq(oid(oidKeyBag), explicit(octets(make([]byte, size-4))))
		_, err := Parse(file(plainPart(deep), plainPart(bag)), now)
		wantError(t, err, message, "")
	}
}

// A folder of answers may have as many entries as the limit.
func TestAnswersAreLimited(t *testing.T) {
	dir := answersOf(t, "agent.crt", "other.crt", "root.crt")
	if a, err := readAnswers(dir, 3); err != nil || len(a.certs) != 3 {
		t.Errorf("%v, %v", a, err)
	}
	_, err := readAnswers(dir, 2)
	wantError(t, err, dir+": has more than 2 files", "keep only")
}
