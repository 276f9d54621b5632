package certificate

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1" // #nosec: for reading files that use it
	"crypto/sha256"
	"crypto/sha512"
	"hash"
)

// prfs are the pseudo-random functions of PBKDF2 that go-pkcs12 knows
// (RFC 8018 appendix B.1); the default is SHA-1.
var prfs = map[string]func() hash.Hash{
	"":                    sha1.New,
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.11": sha512.New,
}

// decryptAES decrypts data under params with the empty passphrase (RFC 8018 section
// 6.2.2), to learn before go-pkcs12 opens the file how costly a private key inside is. ok is false where the passphrase is another,
// or the parameters are not sound: go-pkcs12 then fails in the same place.
func decryptAES(params pbParams, data []byte) (plain []byte, ok bool) {
	var kdf pbkdf2Params
	if unmarshal(params.KDF.Parameters.FullBytes, &kdf) != nil {
		return nil, false
	}
	prf, known := prfs[kdf.PRF.Algorithm.String()]
	size := aesKeySizes[aesCiphers[params.Scheme.Algorithm.String()]]
	iv := params.Scheme.Parameters.Bytes
	if !known || size == 0 || len(iv) != aes.BlockSize || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, false
	}
	// addIterations has bounded the count.
	key, err := pbkdf2.Key(prf, "", kdf.Salt.Bytes, int(kdf.Iterations.Int64()), size)
	if err != nil {
		return nil, false
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, false
	}
	plain = make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	return unpad(plain)
}

// unpad removes the padding of RFC 8018 section 6.1.1.
func unpad(plain []byte) ([]byte, bool) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > aes.BlockSize {
		return nil, false
	}
	body, padding := plain[:len(plain)-n], plain[len(plain)-n:]
	return body, bytes.Equal(padding, bytes.Repeat([]byte{byte(n)}, n))
}
