package certificate

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// maxKept is how many key derivation rounds the file on a host may ask for in all; a file
// that asks for more is re-encoded. OpenSSL and go-pkcs12 write 3 times 2048, Java 3 times
// 10,000. A million takes about half a second, which the agent takes for every token.
const maxKept = 1_000_000

// maxRounds is how many rounds are tried at all: more take longer than openLimit on any
// machine.
const maxRounds = 100_000_000

// maxKeyBag is the largest private key that is parsed, in bytes: RSA with
// 16384 bits needs 9,400. Larger ones take minutes.
const maxKeyBag = 12 << 10

// layout is how a P12 is protected, and how costly it is to open.
type layout struct {
	mac        string   // "" = none
	keys       []string // the cipher of each private key
	safes      []string // the cipher of each part that has certificates
	iterations int64    // the largest single count
	total      int64    // of all counts
	unusual    bool     // nested or more than two parts, which few programs read
}

// The unencrypted structures of RFC 7292 section 4 and RFC 8018 appendix A.
type (
	pfx struct {
		Version  int
		AuthSafe contentInfo
		MacData  macData `asn1:"optional"`
	}
	contentInfo struct {
		ContentType asn1.ObjectIdentifier
		Content     asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	macData struct {
		Mac struct {
			Algorithm pkix.AlgorithmIdentifier
			Digest    []byte
		}
		Salt       []byte
		Iterations *big.Int `asn1:"optional"`
	}
	encryptedData struct {
		Version int
		Content struct {
			ContentType asn1.ObjectIdentifier
			Algorithm   pkix.AlgorithmIdentifier
			Data        asn1.RawValue `asn1:"tag:0,optional"`
		}
	}
	safeBag struct {
		ID         asn1.ObjectIdentifier
		Value      asn1.RawValue `asn1:"tag:0,explicit"`
		Attributes asn1.RawValue `asn1:"optional"`
	}
	x509Bag struct {
		ID   asn1.ObjectIdentifier
		Data []byte `asn1:"tag:0,explicit"`
	}
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbeParams struct {
		Salt       []byte
		Iterations *big.Int
	}
	// pbParams is both PBES2-params and PBMAC1-params.
	pbParams struct {
		KDF    pkix.AlgorithmIdentifier
		Scheme pkix.AlgorithmIdentifier
	}
	pbkdf2Params struct {
		Salt       []byte // its other form is reserved for future use (RFC 8018 appendix A.2)
		Iterations *big.Int
		KeyLength  *big.Int                 `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

// cipher returns the name of an encryption and counts its rounds.
func (l *layout) cipher(alg pkix.AlgorithmIdentifier) (string, *flaw) {
	id := alg.Algorithm.String()
	if legacy, ok := legacyCiphers[id]; ok {
		var params pbeParams
		if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
			return "", p
		}
		return legacy.name, l.addIterations(params.Iterations)
	}
	if id != oidPBES2 {
		return "", flawed(hintReexport, "is encrypted with an unsupported algorithm (%s): re-encode it", algorithmName(id))
	}
	var params pbParams
	if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
		return "", p
	}
	scheme := params.Scheme.Algorithm.String()
	known, ok := pbes2Ciphers[scheme]
	if !ok {
		return "", flawed(hintReexport, "is encrypted with an unsupported algorithm (%s): re-encode it", algorithmName(scheme))
	}
	return known.name, l.addPBKDF2(params.KDF)
}

func (l *layout) addPBKDF2(kdf pkix.AlgorithmIdentifier) *flaw {
	if id := kdf.Algorithm.String(); id != oidPBKDF2 {
		return flawed(hintReexport, "derives its key with an unsupported algorithm (%s): re-encode it", algorithmName(id))
	}
	var params pbkdf2Params
	if p := unmarshal(kdf.Parameters.FullBytes, &params); p != nil {
		return p
	}
	if prf := params.PRF.Algorithm.String(); prfs[prf] == nil {
		return flawed(hintReexport, "derives its key with an unsupported algorithm (%s): re-encode it", algorithmName(prf))
	}
	return l.addIterations(params.Iterations)
}

// addIterations counts the rounds of one key derivation; nil is the default
// of RFC 7292, 1.
func (l *layout) addIterations(n *big.Int) *flaw {
	if n == nil {
		n = big.NewInt(1)
	}
	if n.Sign() < 1 {
		return flawed(hintReexport, "is damaged: a key derivation count below 1")
	}
	if !n.IsInt64() || n.Int64() > maxRounds || l.total+n.Int64() > maxRounds {
		return flawed(hintFewer, "asks for too many key derivation rounds (limit %d in all)", maxRounds)
	}
	l.total += n.Int64()
	l.iterations = max(l.iterations, n.Int64())
	return nil
}

// String describes the protection, e.g. "AES-256-CBC, MAC SHA-256, 2048 iterations".
func (l layout) String() string {
	certs, key := strings.Join(distinct(l.safes), " + "), strings.Join(distinct(l.keys), " + ")
	text := certs
	switch {
	case certs == "":
		text = key
	case key != "" && key != certs:
		text = fmt.Sprintf("%s (certificates), %s (key)", certs, key)
	}
	if l.mac == "" {
		text += ", no MAC"
	} else {
		text += ", MAC " + l.mac
	}
	if l.iterations > 0 {
		text += fmt.Sprintf(", %d iterations", l.iterations)
	}
	return text
}

func distinct(names []string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// unmarshal decodes all of der into v.
func unmarshal(der []byte, v any) *flaw {
	rest, err := asn1.Unmarshal(der, v)
	if err != nil {
		return damaged(err)
	}
	if len(rest) > 0 {
		return flawed(hintFetch, "is damaged: bytes after the end of a PKCS#12 structure")
	}
	return nil
}

// damaged returns the flaw of a structure that can't be decoded; BER, which openssl
// converts, is one of its own. The error itself names Go types and is left out.
func damaged(err error) *flaw {
	if strings.Contains(err.Error(), "indefinite length") {
		return flawed(hintPassphrase, "is BER with indefinite lengths, not DER: re-encode it")
	}
	return flawed(hintDamaged, "is damaged: its PKCS#12 structure is unreadable")
}
