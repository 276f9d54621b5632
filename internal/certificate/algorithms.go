package certificate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"  // #nosec: for reading files that use it
	"crypto/sha1" // #nosec: for reading files that use it
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"
)

// Object identifiers: RFC 7292 section 4 and appendix C, RFC 8018 appendix C,
// RFC 9579 (PBMAC1).
const (
	oidData           = "1.2.840.113549.1.7.1"
	oidEncryptedData  = "1.2.840.113549.1.7.6"
	oidKeyBag         = "1.2.840.113549.1.12.10.1.1"
	oidShroudedKeyBag = "1.2.840.113549.1.12.10.1.2"
	oidCertBag        = "1.2.840.113549.1.12.10.1.3"
	oidNestedBag      = "1.2.840.113549.1.12.10.1.6"
	oidX509           = "1.2.840.113549.1.9.22.1"
	oidPBKDF2         = "1.2.840.113549.1.5.12"
	oidPBES2          = "1.2.840.113549.1.5.13"
	oidPBMAC1         = "1.2.840.113549.1.5.14"
)

const (
	nameNone   = "none"
	nameRC240  = "RC2-40"
	nameRC2128 = "RC2-128"
	name3DES   = "3DES"
	namePBMAC1 = "PBMAC1"
)

// scheme is an encryption: its name, its key length in bytes and its cipher.
type scheme struct {
	name  string
	size  int
	block func(key []byte) (cipher.Block, error)
}

// legacyCiphers are the encryptions of PKCS#12 itself (RFC 7292 appendix C).
var legacyCiphers = map[string]scheme{
	"1.2.840.113549.1.12.1.3": {name3DES, 24, des.NewTripleDESCipher},
	"1.2.840.113549.1.12.1.5": {nameRC2128, 16, newRC2},
	"1.2.840.113549.1.12.1.6": {nameRC240, 5, newRC2},
}

// pbes2Ciphers are the schemes of PBES2 (RFC 8018 appendix B.2).
var pbes2Ciphers = map[string]scheme{
	"1.2.840.113549.3.7":      {name3DES, 24, des.NewTripleDESCipher},
	"2.16.840.1.101.3.4.1.2":  {"AES-128-CBC", 16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {"AES-192-CBC", 24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {"AES-256-CBC", 32, aes.NewCipher},
}

// digest is a hash of a MAC.
type digest struct {
	name string
	make func() hash.Hash
}

// macs are the MACs of RFC 7292 appendix A, apart from PBMAC1.
var macs = map[string]digest{
	"1.3.14.3.2.26":          {"SHA-1", sha1.New},
	"2.16.840.1.101.3.4.2.1": {"SHA-256", sha256.New},
	"2.16.840.1.101.3.4.2.2": {"SHA-384", sha512.New384},
	"2.16.840.1.101.3.4.2.3": {"SHA-512", sha512.New},
	"2.16.840.1.101.3.4.2.4": {"SHA-224", sha256.New224},
}

// prfs are the HMACs of PBKDF2 and PBMAC1 (RFC 8018 appendix B.1); the default is SHA-1.
var prfs = map[string]func() hash.Hash{
	"":                    sha1.New,
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// otherNames are algorithms that files may have and that are refused.
var otherNames = map[string]string{
	"1.2.840.113549.1.12.1.1":   "RC4-128",
	"1.2.840.113549.1.12.1.2":   "RC4-40",
	"1.2.840.113549.1.12.1.4":   "2-key 3DES",
	"1.2.840.113549.1.5.3":      "DES with MD5",
	"1.3.6.1.4.1.11591.4.11":    "scrypt",
	"2.16.840.1.101.3.4.1.6":    "AES-128-GCM",
	"2.16.840.1.101.3.4.1.46":   "AES-256-GCM",
	"1.2.840.113549.2.5":        "MD5",
	"1.2.392.200011.61.1.1.1.2": "Camellia-128-CBC",
	"1.2.392.200011.61.1.1.1.4": "Camellia-256-CBC",
}

// algorithmName returns the name of an algorithm, or its number.
func algorithmName(oid string) string {
	if name, ok := otherNames[oid]; ok {
		return name
	}
	// An OID comes from the file and may be as long as the file.
	if len(oid) > 64 {
		return oid[:64] + "…"
	}
	return oid
}

// loads reports whether OpenSSL 1.1.1 and 3 both open the file with their default
// providers, as tested with PKCS12_parse of 1.1.1 and 3.0: 3 has no RC2, 1.1.1
// insists on a MAC, and neither knows PBMAC1 (new in 3.4).
func (l layout) loads() bool {
	return l.mac != "" && l.mac != namePBMAC1 && !l.rc2()
}

func (l layout) rc2() bool {
	return slices.ContainsFunc(l.ciphers(), func(name string) bool { return name == nameRC240 || name == nameRC2128 })
}

// oddities returns why a file with this layout is re-encoded; none if it is not.
func (l layout) oddities() []string {
	const instead = "; re-encoded with AES-256-CBC and SHA-256"
	var notes []string
	for _, name := range l.ciphers() {
		switch name {
		case nameRC240, nameRC2128:
			notes = append(notes, "was encrypted with "+name+", which OpenSSL 3 does not load"+instead)
		case name3DES:
			notes = append(notes, "was encrypted with 3DES, which is deprecated"+instead)
		}
	}
	switch l.mac {
	case "":
		notes = append(notes, "had no MAC, which OpenSSL 1.1.1 refuses"+instead)
	case namePBMAC1:
		notes = append(notes, "had a PBMAC1 MAC, which OpenSSL before 3.4 refuses"+instead)
	}
	if l.total > maxKept {
		notes = append(notes, fmt.Sprintf("asks for %d key derivation rounds whenever it is opened; re-encoded with fewer", l.total))
	}
	if l.unusual {
		notes = append(notes, "had nested or more than two parts; re-encoded with two")
	}
	return notes
}

// ciphers returns each encryption once.
func (l layout) ciphers() []string {
	names := slices.Concat(l.safes, l.keys)
	slices.Sort(names)
	return slices.Compact(names)
}
