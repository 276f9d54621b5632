package certificate

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1" // #nosec: for reading files that use it
	"crypto/x509/pkix"
	"math/big"
)

// addMAC notes how the file is authenticated.
func (l *layout) addMAC(m macData) *flaw {
	id := m.Mac.Algorithm.Algorithm.String()
	switch known, ok := macs[id]; {
	case id == "":
		return nil
	case id == oidPBMAC1:
		l.mac = namePBMAC1
		var params pbParams
		if p := unmarshal(m.Mac.Algorithm.Parameters.FullBytes, &params); p != nil {
			return p
		}
		if hash := params.Scheme.Algorithm.String(); hash == "" || prfs[hash] == nil {
			return flawed(hintReexport, "has an unsupported MAC (%s): re-encode it", algorithmName(hash))
		}
		return l.addPBKDF2(params.KDF)
	case ok:
		l.mac = known.name
		return l.addIterations(m.Iterations)
	}
	return flawed(hintReexport, "has an unsupported MAC (%s): re-encode it", algorithmName(id))
}

// checkMAC compares the MAC over content, and keeps the password with which it fits.
func (o *opener) checkMAC(m macData, content []byte) *flaw {
	if o.mac == "" {
		return nil
	}
	candidates := o.passwords
	if o.mac == namePBMAC1 {
		candidates = candidates[:1] // PBKDF2 has the same bytes for both
	}
	for i, password := range candidates {
		mac, p := o.authenticate(m, content, password)
		if p != nil {
			return p
		}
		if hmac.Equal(mac, m.Mac.Digest) {
			o.verified = true
			if o.mac != namePBMAC1 {
				o.passwords = o.passwords[i : i+1]
			}
			return nil
		}
	}
	return flawed(hintPassphrase, "is protected with a passphrase (or damaged); the agent needs one without")
}

// authenticate returns the MAC of content (RFC 7292 appendix A; PBMAC1: RFC 9579). addMAC
// has checked the algorithms.
func (o *opener) authenticate(m macData, content, password []byte) ([]byte, *flaw) {
	var key []byte
	alg := m.Mac.Algorithm
	known := macs[alg.Algorithm.String()]
	if o.mac == namePBMAC1 {
		var params pbParams
		if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
			return nil, p
		}
		known.make = prfs[params.Scheme.Algorithm.String()]
		var kdf pbkdf2Params
		if p := unmarshal(params.KDF.Parameters.FullBytes, &kdf); p != nil {
			return nil, p
		}
		// RFC 9579 section 5: a length must be there; less than 20 bytes is not safe.
		if kdf.KeyLength == nil || !kdf.KeyLength.IsInt64() || kdf.KeyLength.Int64() < 20 || kdf.KeyLength.Int64() > 64 {
			return nil, flawed(hintReexport, "has a PBMAC1 MAC with an unsafe key length: re-encode it")
		}
		key = o.stretch(kdf, int(kdf.KeyLength.Int64()))
	} else {
		key = pkcs12Key(known.make, forMAC, password, m.Salt, rounds(m.Iterations), known.make().Size(), o.out)
	}
	if key == nil {
		return nil, o.tooSlow()
	}
	mac := hmac.New(known.make, key)
	mac.Write(content)
	return mac.Sum(nil), nil
}

// decrypt decrypts data, whose algorithm layout.cipher has checked, with the passwords
// that may be the one.
func (o *opener) decrypt(alg pkix.AlgorithmIdentifier, data []byte) ([]byte, *flaw) {
	candidates := o.passwords
	if alg.Algorithm.String() == oidPBES2 {
		candidates = candidates[:1] // PBKDF2 has the same bytes for both
	}
	for _, password := range candidates {
		block, iv, p := o.cipherOf(alg, password)
		if p != nil {
			return nil, p
		}
		if plain, ok := decryptCBC(block, iv, data); ok {
			return plain, nil
		}
	}
	return nil, flawed(hintPassphrase, "is protected with a passphrase; the agent needs one without")
}

// cipherOf returns the cipher of alg and its initialisation vector.
func (o *opener) cipherOf(alg pkix.AlgorithmIdentifier, password []byte) (cipher.Block, []byte, *flaw) {
	var key, iv []byte
	used, legacy := legacyCiphers[alg.Algorithm.String()]
	if legacy {
		var params pbeParams
		if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
			return nil, nil, p
		}
		n := rounds(params.Iterations)
		if key = pkcs12Key(sha1.New, forKey, password, params.Salt, n, used.size, o.out); key != nil {
			iv = pkcs12Key(sha1.New, forIV, password, params.Salt, n, 8, o.out)
		}
	} else {
		var params pbParams
		if p := unmarshal(alg.Parameters.FullBytes, &params); p != nil {
			return nil, nil, p
		}
		var kdf pbkdf2Params
		if p := unmarshal(params.KDF.Parameters.FullBytes, &kdf); p != nil {
			return nil, nil, p
		}
		if p := unmarshal(params.Scheme.Parameters.FullBytes, &iv); p != nil {
			return nil, nil, p
		}
		used = pbes2Ciphers[params.Scheme.Algorithm.String()]
		if kdf.KeyLength != nil && kdf.KeyLength.Cmp(big.NewInt(int64(used.size))) != 0 {
			return nil, nil, flawed(hintFetch, "is damaged: its key derivation is not for the length of its cipher's key")
		}
		key = o.stretch(kdf, used.size)
	}
	if key == nil || iv == nil && legacy {
		return nil, nil, o.tooSlow()
	}
	block, err := used.block(key)
	if err != nil {
		return nil, nil, flawed(hintReexport, "is encrypted with an algorithm that this program may not use: re-encode it")
	}
	return block, iv, nil
}

// stretch is PBKDF2 with the empty passphrase, which has no bytes here (RFC 8018 section 3).
func (o *opener) stretch(kdf pbkdf2Params, size int) []byte {
	return pbkdf2Key(prfs[kdf.PRF.Algorithm.String()], kdf.Salt, rounds(kdf.Iterations), size, o.out)
}

// rounds returns a count that addIterations has accepted.
func rounds(n *big.Int) int {
	if n == nil {
		return 1
	}
	return int(n.Int64())
}

// tooSlow is for a key derivation that was given up.
func (o *opener) tooSlow() *flaw {
	return flawed(hintReexport, "takes longer than %v to open: it asks for %d key derivation rounds", openLimit, o.total)
}

// decryptCBC returns data in the clear; ok is false where that is not a SEQUENCE with sound
// padding (RFC 8018 section 6.1.1), as with another password.
func decryptCBC(block cipher.Block, iv, data []byte) (plain []byte, ok bool) {
	size := block.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, false
	}
	plain = make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	n := int(plain[len(plain)-1])
	if n == 0 || n > size || plain[0] != 0x30 {
		return nil, false
	}
	body, padding := plain[:len(plain)-n], plain[len(plain)-n:]
	return body, bytes.Equal(padding, bytes.Repeat([]byte{byte(n)}, n))
}
