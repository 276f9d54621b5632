package certificate

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
)

// maxIterations is how many key derivation rounds a whole file may ask for.
// OpenSSL and go-pkcs12 write 3 times 2048, Java 3 times 10,000; a million
// takes about half a second, which the agent would take for every token.
const maxIterations = 1_000_000

// maxKeyBag is the largest private key that is parsed, in bytes: RSA with
// 16384 bits needs 9,400. Larger ones take minutes.
const maxKeyBag = 12 << 10

// layout is how a P12 is protected, and how costly it is to open.
type layout struct {
	mac        string   // "" = none
	keys       []string // the cipher of each private key that was found
	safes      []string // the cipher of each part that holds certificates
	iterations int64    // the largest single count
	total      int64    // of all counts
	blind      bool     // a part with a legacy encryption was not opened
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
		Salt       asn1.RawValue
		Iterations *big.Int
		KeyLength  *big.Int                 `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

// inspectLayout reads the structure of der without decrypting its keys.
func inspectLayout(der []byte) (layout, *flaw) {
	var outer pfx
	if p := unmarshal(der, &outer); p != nil {
		return layout{}, p
	}
	if outer.AuthSafe.ContentType.String() != oidData {
		return layout{}, flawed(hintReexport, "is protected by a signature instead of a MAC, which the agent can't read")
	}
	var content []byte
	if p := unmarshal(outer.AuthSafe.Content.Bytes, &content); p != nil {
		return layout{}, p
	}
	var parts []contentInfo
	if p := unmarshal(content, &parts); p != nil {
		return layout{}, p
	}
	if len(parts) == 0 || len(parts) > 2 {
		return layout{}, flawed(hintReexport, "has %d parts (safes) where 1 or 2 are usual: re-encode it", len(parts))
	}
	var l layout
	if p := l.addMAC(outer.MacData); p != nil {
		return layout{}, p
	}
	for _, part := range parts {
		if p := l.addPart(part); p != nil {
			return layout{}, p
		}
	}
	return l, nil
}

func (l *layout) addMAC(m macData) *flaw {
	id := m.Mac.Algorithm.Algorithm.String()
	switch name, ok := macNames[id]; {
	case id == "":
		return nil
	case id == oidPBMAC1:
		l.mac = namePBMAC1
		var params pbParams
		if p := unmarshal(m.Mac.Algorithm.Parameters.FullBytes, &params); p != nil {
			return p
		}
		return l.addPBKDF2(params.KDF)
	case ok:
		l.mac = name
		return l.addIterations(m.Iterations)
	}
	return flawed(hintReexport, "has an unsupported MAC (%s): re-encode it", algorithmName(id))
}

func (l *layout) addPart(part contentInfo) *flaw {
	switch part.ContentType.String() {
	case oidData:
		var content []byte
		if p := unmarshal(part.Content.Bytes, &content); p != nil {
			return p
		}
		return l.addBags(content)
	case oidEncryptedData:
		return l.addSealed(part.Content.Bytes)
	}
	return flawed(hintReexport, "has a part that is neither plain nor encrypted with a password: re-encode it")
}

// addSealed notes an encrypted part, and where it can be decrypted the keys in it:
// their rounds count too.
func (l *layout) addSealed(der []byte) *flaw {
	var sealed encryptedData
	if p := unmarshal(der, &sealed); p != nil {
		return p
	}
	alg := sealed.Content.Algorithm
	cipher, p := l.cipher(alg)
	if p != nil {
		return p
	}
	l.safes = append(l.safes, cipher)
	if aesKeySizes[cipher] == 0 {
		l.blind = true
		return nil
	}
	var params pbParams
	if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
		return p
	}
	plain, ok := decryptAES(params, sealed.Content.Data.Bytes)
	var bags []safeBag
	if !ok || unmarshal(plain, &bags) != nil {
		return nil // another passphrase, as go-pkcs12 will say
	}
	return l.addEach(bags, cipher)
}

// addBags notes the keys and certificates of an unencrypted part.
func (l *layout) addBags(content []byte) *flaw {
	var bags []safeBag
	if p := unmarshal(content, &bags); p != nil {
		return p
	}
	return l.addEach(bags, nameNone)
}

// addEach notes the bags of a part with the encryption outer.
func (l *layout) addEach(bags []safeBag, outer string) *flaw {
	for _, bag := range bags {
		switch id := bag.ID.String(); id {
		case oidKeyBag, oidShroudedKeyBag:
			if p := l.addKey(bag.Value.Bytes, id == oidShroudedKeyBag, outer); p != nil {
				return p
			}
		case oidCertBag:
			l.safes = append(l.safes, outer)
		}
	}
	if len(l.keys) > 1 {
		return flawed(hintPairUp, "has %d private keys, the agent needs exactly one", len(l.keys))
	}
	return nil
}

func (l *layout) addKey(der []byte, shrouded bool, outer string) *flaw {
	if len(der) > maxKeyBag {
		return flawed(hintNewRSA, "has a private key of %d bytes, which is too large", len(der))
	}
	if !shrouded {
		l.keys = append(l.keys, outer)
		return nil
	}
	var sealed encryptedKey
	if p := unmarshal(der, &sealed); p != nil {
		return p
	}
	cipher, p := l.cipher(sealed.Algorithm)
	l.keys = append(l.keys, cipher)
	return p
}

// cipher returns the name of an encryption and counts its rounds.
func (l *layout) cipher(alg pkix.AlgorithmIdentifier) (string, *flaw) {
	id := alg.Algorithm.String()
	if name, ok := legacyCiphers[id]; ok {
		var params pbeParams
		if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
			return "", p
		}
		return name, l.addIterations(params.Iterations)
	}
	if id != oidPBES2 {
		return "", flawed(hintReexportOld, "is encrypted with an unsupported algorithm (%s): re-encode it", algorithmName(id))
	}
	var params pbParams
	if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
		return "", p
	}
	scheme := params.Scheme.Algorithm.String()
	name, ok := aesCiphers[scheme]
	if !ok {
		return "", flawed(hintReexport, "is encrypted with an unsupported algorithm (%s): re-encode it", algorithmName(scheme))
	}
	return name, l.addPBKDF2(params.KDF)
}

func (l *layout) addPBKDF2(kdf pkix.AlgorithmIdentifier) *flaw {
	if id := kdf.Algorithm.String(); id != oidPBKDF2 {
		return flawed(hintReexport, "derives its key with an unsupported algorithm (%s): re-encode it", algorithmName(id))
	}
	var params pbkdf2Params
	if p := unmarshal(kdf.Parameters.FullBytes, &params); p != nil {
		return p
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
	if !n.IsInt64() || n.Int64() > maxIterations || l.total+n.Int64() > maxIterations {
		return flawed(hintReexport, "asks for too many key derivation rounds (limit %d in all): re-encode it", maxIterations)
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
		if len(out) == 0 || out[len(out)-1] != name {
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
		return flawed(hintBER, "is BER with indefinite lengths, not DER: re-encode it")
	}
	return flawed(hintReexport, "is damaged: its PKCS#12 structure is unreadable")
}
