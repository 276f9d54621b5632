package certificate

import (
	"bytes"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"time"
)

// openLimit is how long the key derivations of one file may take in all. GnuTLS writes
// 3 times 600,000 rounds, about a second.
const openLimit = 10 * time.Second

// roundsAtOnce is how many rounds are done between two checks of the time. The first check
// is before them: a file may have many parts with fewer rounds each.
const roundsAtOnce = 4096

// spent reports whether the time for key derivation is used up.
type spent func() bool

// within returns a spent that is true after limit.
func within(limit time.Duration) spent {
	end := time.Now().Add(limit)
	return func() bool { return time.Now().After(end) }
}

// pbkdf2Key is PBKDF2 (RFC 8018 section 5.2) with the empty passphrase. It returns nil
// when the time is used up; crypto/pbkdf2 can't be stopped.
func pbkdf2Key(prf func() hash.Hash, salt []byte, rounds, size int, out spent) []byte {
	mac := hmac.New(prf, nil)
	var key []byte
	for block := uint32(1); len(key) < size; block++ {
		mac.Reset()
		mac.Write(binary.BigEndian.AppendUint32(bytes.Clone(salt), block))
		u := mac.Sum(nil)
		sum := bytes.Clone(u)
		for n := 1; n < rounds; n++ {
			if n%roundsAtOnce == 1 && out() {
				return nil
			}
			mac.Reset()
			mac.Write(u)
			u = mac.Sum(u[:0])
			subtle.XORBytes(sum, sum, u)
		}
		key = append(key, sum...)
	}
	return key[:size]
}

// What a key of pkcs12Key is for (RFC 7292 appendix B.3).
const (
	forKey = 1
	forIV  = 2
	forMAC = 3
)

// pkcs12Key is the key derivation of RFC 7292 appendix B.2, whose names it uses. It
// returns nil when the time is used up.
func pkcs12Key(newHash func() hash.Hash, use byte, password, salt []byte, rounds, size int, out spent) []byte {
	h := newHash()
	v := h.BlockSize()
	d := bytes.Repeat([]byte{use}, v)
	i := append(fill(salt, v), fill(password, v)...)
	var key []byte
	for {
		h.Reset()
		h.Write(d)
		h.Write(i)
		a := h.Sum(nil)
		for n := 1; n < rounds; n++ {
			if n%roundsAtOnce == 1 && out() {
				return nil
			}
			h.Reset()
			h.Write(a)
			a = h.Sum(a[:0])
		}
		key = append(key, a...)
		if len(key) >= size {
			return key[:size]
		}
		b := fill(a, v)[:v]
		for part := i; len(part) > 0; part = part[v:] {
			addOne(part[:v], b)
		}
	}
}

// fill repeats pattern up to a multiple of v bytes.
func fill(pattern []byte, v int) []byte {
	if len(pattern) == 0 {
		return nil
	}
	filled := make([]byte, (len(pattern)+v-1)/v*v)
	for n := 0; n < len(filled); n += copy(filled[n:], pattern) {
	}
	return filled
}

// addOne sets i to i + b + 1, as big-endian numbers of the same length.
func addOne(i, b []byte) {
	carry := 1
	for n := len(i) - 1; n >= 0; n-- {
		carry += int(i[n]) + int(b[n])
		i[n] = byte(carry)
		carry >>= 8
	}
}
