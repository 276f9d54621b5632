package certificate

import (
	"fmt"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// Problem is why a file can't be used. It never holds key material.
type Problem struct {
	Path    string // the file, if known
	Message string // what is wrong: short, lower case, no full stop; about a file it reads on from the path
	Hint    string // the command that mends it, or what to do; FILE stands for an unknown path
}

// Error returns "path: message", or the message alone where no path is known.
func (p *Problem) Error() string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// openP12 stands, in a hint, for the start of an openssl command that reads
// the file at hand; addressed fills it in.
const openP12 = "OPEN-P12"

// fromAllPEM packs anew what an openssl command before it wrote into all.pem.
// Not a pipe: "pkcs12 -export" reads its input twice, first for the key, then
// for the certificates.
const fromAllPEM = "openssl pkcs12 -export -in all.pem -passout pass: -out new.p12; rm all.pem"

// The hints. new.p12 is raw PKCS#12, which this package takes as it is.
const (
	hintReexport    = openP12 + " -passin pass: -nodes -out all.pem && " + fromAllPEM
	hintReexportOld = openP12 + " -legacy -passin pass: -nodes -out all.pem && " + fromAllPEM
	hintPassphrase  = openP12 + " -nodes -out all.pem && " + fromAllPEM
	hintAddKey      = "openssl pkcs12 -export -in FILE -inkey KEY -passout pass: -out new.p12"
	hintAddCert     = "openssl pkcs12 -export -in CERTIFICATE -inkey FILE -passout pass: -out new.p12"
	hintFromPEM     = "openssl pkcs12 -export -in FILE -passout pass: -out new.p12"
	hintSplit       = openP12 + " -passin pass: -nodes -out all.pem, then " +
		"openssl pkcs12 -export -in CERTIFICATE -inkey KEY -passout pass: -out new.p12 with the right pair"
	hintMissingKey = openP12 + " -passin pass: -nokeys -out all.pem && openssl pkcs12 -export -in all.pem -inkey KEY " +
		"-passout pass: -out new.p12; rm all.pem"
	hintMissingCert = openP12 + " -passin pass: -nocerts -nodes -out all.pem && " +
		"openssl pkcs12 -export -in CERTIFICATE -inkey all.pem -passout pass: -out new.p12; rm all.pem"
	hintPairUp = "openssl pkcs12 -export -in CERTIFICATE -inkey KEY -passout pass: -out new.p12 with the right pair"
	hintNewRSA = "ask for a new RSA certificate or make one, e.g. openssl req -x509 -newkey rsa:3072 -nodes -keyout new.key -out new.crt -days 365 -subj /CN=NAME"
	hintFetch  = "get the file again from where it came from"
)

func problem(hint, format string, args ...any) *Problem {
	return &Problem{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// addressed fills in how the file at hand is opened: raw PKCS#12 directly, all
// else through base64, where -i skips line ends and byte order marks.
func (p *Problem) addressed(raw bool) *Problem {
	open := "base64 -di FILE | openssl pkcs12"
	if raw {
		open = "openssl pkcs12 -in FILE"
	}
	return &Problem{Path: p.Path, Message: p.Message, Hint: strings.ReplaceAll(p.Hint, openP12, open)}
}

// at names the file in error and hint.
func (p *Problem) at(path string) *Problem {
	hint := strings.ReplaceAll(p.Hint, "FILE", shellescape.Quote(path))
	return &Problem{Path: path, Message: p.Message, Hint: hint}
}
