// Package certificate reads the base64 PKCS#12 file (RFC 7292) that the agent
// signs in with, explains what is wrong with a bad one, and converts a good one
// to the single form that every agent loads: base64 on one line without a
// newline, no passphrase, AES-256-CBC, the certificate of the key first.
//
// A Certificate holds a private key. Only Canonical and KeyPair return it.
package certificate

import (
	"bytes"
	"crypto/sha1" // #nosec: the thumbprint that Entra shows is SHA-1 by definition
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 1 << 20

// maxName is the longest name in an Info, in characters: the file is not trusted.
const maxName = 256

// Info describes one certificate. Names are free of control
// characters and at most 256 characters long, so that they are safe to print.
type Info struct {
	Thumbprint string    `json:"thumbprint"` // SHA-1 in upper-case hex, as Entra shows it
	SHA256     string    `json:"sha256"`     // lower-case hex
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Serial     string    `json:"serial"` // upper-case hex, as openssl prints it
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
}

// Describe returns what is public of c.
func Describe(c *x509.Certificate) Info {
	thumb, sum := sha1.Sum(c.Raw), sha256.Sum256(c.Raw)
	return Info{
		Thumbprint: strings.ToUpper(hex.EncodeToString(thumb[:])),
		SHA256:     hex.EncodeToString(sum[:]),
		Subject:    nameText(c.Subject),
		Issuer:     nameText(c.Issuer),
		Serial:     clean(serialOf(c.SerialNumber)),
		NotBefore:  c.NotBefore.UTC(),
		NotAfter:   c.NotAfter.UTC(),
	}
}

// serialOf writes whole bytes, as openssl does.
func serialOf(serial *big.Int) string {
	text := fmt.Sprintf("%02X", new(big.Int).Abs(serial))
	if len(text)%2 == 1 {
		text = "0" + text
	}
	if serial.Sign() < 0 {
		text = "-" + text
	}
	return text
}

// clean makes s safe for a terminal: a certificate's name may hold any bytes,
// escape sequences and text-direction marks among them.
func clean(s string) string { return display.Shorten(display.Mask(s), maxName) }

// maxAttributes is how many attributes of a name are shown: pkix.Name.String takes time and
// memory in proportion to the square of their number, which a file decides.
const maxAttributes = 100

// nameText returns a distinguished name in the form of RFC 4514, safe for a terminal.
func nameText(name pkix.Name) string {
	if len(name.Names) > maxAttributes {
		last := pkix.RDNSequence{name.Names[len(name.Names)-maxAttributes:]}
		name = pkix.Name{}
		name.FillFromRDNSequence(&last)
	}
	return clean(name.String())
}

// Certificate is a P12 file that the agent can use, with everything that is
// known about it. It prints, logs and marshals without its private key.
type Certificate struct {
	// Leaf is the certificate that belongs to the private key.
	Leaf Info
	// Chain has the other certificates of the file, issuer after issued where
	// the file was re-encoded, else in the order of the file.
	Chain []Info
	// Encryption describes the file as it was given, e.g.
	// "AES-256-CBC, MAC SHA-256, 2048 iterations".
	Encryption string
	// Notes say, one each, what was unusual and is fixed in Canonical.
	Notes []string
	// Normalised says that Canonical differs from the bytes that were given.
	Normalised bool
	// AgentLoads says that the file as given, byte for byte, loads in the
	// agent, whether it uses OpenSSL 1.1.1 or 3.
	AgentLoads bool

	// A closure: fmt, slog, encoders and debug printers that walk unexported
	// fields by reflection all stop at a function.
	canonical func() []byte
	digest    string // of Known; "": of canonical
}

// Known returns a certificate of which only what is public is known here, and the digest of
// what is to be installed: it is read elsewhere. It has no Canonical.
func Known(leaf Info, digest string) *Certificate { return &Certificate{Leaf: leaf, digest: digest} }

// Canonical returns exactly what is to be installed: one line of base64 and no
// newline. It holds the private key in the clear. The caller owns the slice.
func (c *Certificate) Canonical() []byte {
	if c == nil || c.canonical == nil {
		return nil
	}
	return c.canonical()
}

// Digest returns the SHA-256 of Canonical in lower-case hex.
func (c *Certificate) Digest() string {
	if c.digest != "" {
		return c.digest
	}
	sum := sha256.Sum256(c.Canonical())
	return hex.EncodeToString(sum[:])
}

// seal stores the canonical bytes where printers can't reach them.
func (c *Certificate) seal(canonical []byte) {
	c.canonical = func() []byte { return bytes.Clone(canonical) }
}

// String names the certificate by thumbprint, subject and last day.
func (c Certificate) String() string {
	return fmt.Sprintf("certificate %s (%s, valid until %s)",
		c.Leaf.Thumbprint, c.Leaf.Subject, c.Leaf.NotAfter.Format(time.DateOnly))
}

// GoString returns String: %#v must not show more.
func (c Certificate) GoString() string { return c.String() }

// Format prints String for every verb: %+v and %x must not show more.
func (c Certificate) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue returns the public facts only, for slog.
func (c Certificate) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("thumbprint", c.Leaf.Thumbprint),
		slog.String("subject", c.Leaf.Subject),
		slog.Time("not_after", c.Leaf.NotAfter),
	)
}

// MarshalJSON writes the public facts only.
func (c Certificate) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Leaf       Info     `json:"leaf"`
		Chain      []Info   `json:"chain"`
		Encryption string   `json:"encryption"`
		Notes      []string `json:"notes"`
		Normalised bool     `json:"normalised"`
		AgentLoads bool     `json:"agent_loads"`
	}{c.Leaf, c.Chain, c.Encryption, c.Notes, c.Normalised, c.AgentLoads})
}

// DaysLeft returns how many whole days remain until t; it is negative once t has passed.
// It takes no time.Duration, which ends at 292 years: RFC 5280 section 4.1.2.5 writes "no
// end" as the year 9999.
func DaysLeft(t, now time.Time) int {
	const day = 24 * 60 * 60
	seconds := t.Unix() - now.Unix()
	if t.Nanosecond() < now.Nanosecond() {
		seconds--
	}
	if seconds < 0 {
		return int((seconds+1)/day) - 1
	}
	return int(seconds / day)
}
