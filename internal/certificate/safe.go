package certificate

import (
	"crypto/x509"
	"crypto/x509/pkix"
)

// maxDepth is how deep parts may be nested; no known program writes more than one level.
const maxDepth = 8

// opener opens a P12 with the empty passphrase. It reads each part and each private key
// itself: go-pkcs12 refuses a whole file for one certificate that Go can't parse, can't be
// stopped, and does not see nested parts.
type opener struct {
	layout
	passwords [][]byte // as pkcs12Key has them; one of these
	verified  bool     // the MAC says that it is empty
	out       spent
	parts     []part
	private   []sealedKey
}

// part is a safe: encrypted, or with its bags already noted.
type part struct {
	cipher    string // "" if not encrypted
	algorithm pkix.AlgorithmIdentifier
	data      []byte
	certs     [][]byte
}

// sealedKey is a private key, in PKCS#8 where the algorithm is missing.
type sealedKey struct {
	algorithm pkix.AlgorithmIdentifier
	data      []byte
}

// contents is what a file has: its key, and its certificates in the order of the file,
// each once.
type contents struct {
	key   any
	certs []member
}

// open decrypts der with the empty passphrase, until out.
func open(der []byte, out spent) (contents, layout, *flaw) {
	// An empty passphrase is two zero bytes, or none (RFC 7292 appendix B.1); both are in use.
	o := opener{out: out, passwords: [][]byte{{0, 0}, nil}}
	c, p := o.open(der)
	if p != nil && p.hint == hintReexport && !o.verified {
		p = &flaw{p.message, hintPassphrase} // openssl asks for one, which may be empty
	}
	return c, o.layout, p
}

func (o *opener) open(der []byte) (contents, *flaw) {
	var outer pfx
	if p := unmarshal(der, &outer); p != nil {
		return contents{}, p
	}
	if outer.AuthSafe.ContentType.String() != oidData {
		return contents{}, flawed(hintReexport, "is protected by a signature instead of a MAC, which the agent can't read")
	}
	var content []byte
	if p := unmarshal(outer.AuthSafe.Content.Bytes, &content); p != nil {
		return contents{}, p
	}
	for _, step := range []func() *flaw{
		func() *flaw { return o.addMAC(outer.MacData) },
		func() *flaw { return o.checkMAC(outer.MacData, content) },
		func() *flaw { return o.addParts(content) },
		o.unseal,
	} {
		if p := step(); p != nil {
			return contents{}, p
		}
	}
	return o.contents()
}

// contents decrypts the private key and parses the certificates.
func (o *opener) contents() (contents, *flaw) {
	var certs [][]byte
	for _, part := range o.parts {
		certs = append(certs, part.certs...)
	}
	switch {
	case len(o.private) == 0 && len(certs) == 0:
		return contents{}, flawed(hintPairUp, "has neither a private key nor a certificate")
	case len(o.private) == 0:
		return contents{}, flawed(hintMissingKey, "has no private key, only certificates")
	case len(certs) == 0:
		return contents{}, flawed(hintMissingCert, "has a private key but no certificate")
	}
	key, p := o.key(o.private[0])
	if p != nil {
		return contents{}, p
	}
	return contents{key, members(certs)}, nil
}

// addParts notes the parts of the file, and what is in those that are not encrypted.
func (o *opener) addParts(content []byte) *flaw {
	var infos []contentInfo
	if p := unmarshal(content, &infos); p != nil {
		return p
	}
	o.unusual = len(infos) > 2
	o.parts = make([]part, len(infos))
	for i, info := range infos {
		if p := o.addPart(info, &o.parts[i]); p != nil {
			return p
		}
	}
	return nil
}

func (o *opener) addPart(info contentInfo, to *part) *flaw {
	switch info.ContentType.String() {
	case oidData:
		var content []byte
		if p := unmarshal(info.Content.Bytes, &content); p != nil {
			return p
		}
		return o.addBags(content, nameNone, to)
	case oidEncryptedData:
		var sealed encryptedData
		if p := unmarshal(info.Content.Bytes, &sealed); p != nil {
			return p
		}
		to.algorithm, to.data = sealed.Content.Algorithm, sealed.Content.Data.Bytes
		var p *flaw
		to.cipher, p = o.cipher(to.algorithm)
		o.safes = append(o.safes, to.cipher)
		return p
	}
	return flawed(hintReexport, "has a part that is neither plain nor encrypted with a password: re-encode it")
}

// unseal decrypts the encrypted parts and notes what is in them.
func (o *opener) unseal() *flaw {
	for i := range o.parts {
		to := &o.parts[i]
		if to.cipher == "" {
			continue
		}
		plain, p := o.decrypt(to.algorithm, to.data)
		if p == nil {
			p = o.addBags(plain, to.cipher, to)
		}
		if p != nil {
			return p
		}
	}
	return nil
}

// addBags notes the keys and certificates of a part with the encryption outer.
func (o *opener) addBags(content []byte, outer string, to *part) *flaw {
	var bags []safeBag
	if p := unmarshal(content, &bags); p != nil {
		return p
	}
	return o.addEach(bags, outer, to, 0)
}

func (o *opener) addEach(bags []safeBag, outer string, to *part, depth int) *flaw {
	if depth > maxDepth {
		return flawed(hintReexport, "has parts nested more than %d deep: re-encode it", maxDepth)
	}
	for _, bag := range bags {
		if p := o.addBag(bag, outer, to, depth); p != nil {
			return p
		}
	}
	if len(o.private) > 1 {
		return flawed(hintPairUp, "has %d private keys, the agent needs exactly one", len(o.private))
	}
	return nil
}

// addBag ignores bags that are neither key nor X.509 certificate, as OpenSSL's
// PKCS12_parse does.
func (o *opener) addBag(bag safeBag, outer string, to *part, depth int) *flaw {
	switch id := bag.ID.String(); id {
	case oidKeyBag, oidShroudedKeyBag:
		return o.addKey(bag.Value.Bytes, id == oidShroudedKeyBag, outer)
	case oidCertBag:
		var cert x509Bag
		if p := unmarshal(bag.Value.Bytes, &cert); p != nil {
			return p
		}
		if cert.ID.String() == oidX509 {
			o.safes = append(o.safes, outer)
			to.certs = append(to.certs, cert.Data)
		}
	case oidNestedBag: // RFC 7292 section 4.2.6
		var bags []safeBag
		if p := unmarshal(bag.Value.Bytes, &bags); p != nil {
			return p
		}
		o.unusual = true
		return o.addEach(bags, outer, to, depth+1)
	}
	return nil
}

func (o *opener) addKey(der []byte, shrouded bool, outer string) *flaw {
	if len(der) > maxKeyBag {
		return flawed(hintNewRSA, "has a private key of %d bytes, which is too large", len(der))
	}
	if !shrouded {
		o.keys, o.private = append(o.keys, outer), append(o.private, sealedKey{data: der})
		return nil
	}
	var sealed encryptedKey
	if p := unmarshal(der, &sealed); p != nil {
		return p
	}
	cipher, p := o.cipher(sealed.Algorithm)
	o.keys, o.private = append(o.keys, cipher), append(o.private, sealedKey{sealed.Algorithm, sealed.Data})
	return p
}

// key decrypts and parses a private key. The parser's error may quote the key: it is
// not passed on.
func (o *opener) key(k sealedKey) (any, *flaw) {
	der := k.data
	if k.algorithm.Algorithm != nil {
		var p *flaw
		if der, p = o.decrypt(k.algorithm, k.data); p != nil {
			return nil, p
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, flawed(hintNewRSA, "has an unreadable private key: damaged, or not RSA; the agent needs RSA")
	}
	return key, nil
}
