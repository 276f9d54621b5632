package certificate

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// flaw is why a certificate can't be used, while it is not known yet how the file
// is read and called. It never holds key material.
type flaw struct {
	message string // what is wrong; about a file it reads on from the path
	hint    string // the command that fixes it, or what to do; FILE stands for the path
}

// problem returns the error that leaves this package.
func (p *flaw) problem() *problem.Error {
	return &problem.Error{Class: problem.Certificate, Message: p.message, Hint: p.hint}
}

// Words in a hint that addressed fills in: a command reads the file directly where that
// is DER, else through base64, whose -i skips line ends and
// byte order marks.
const (
	pipeDER = "PIPE-DER "
	derFile = "DER-FILE"
)

// The hints leave no private key in a file that others may read, and replace no file of
// the operator's: this program packs what comes through a pipe, and it does not
// overwrite.
const (
	packAs  = " --out new.p12.b64"
	pack    = "aoifleet certificate pack --cert "
	packAll = pack + "/dev/stdin --key /dev/stdin" + packAs

	// POSIX set -C (noclobber).
	onlyNew     = " > new.p12.b64)"
	intoNew     = "(umask 077; set -C; "
	hintDecode  = intoNew + "base64 -di FILE" + onlyNew
	hintJSON    = intoNew + "jq -j .value FILE" + onlyNew
	hintUnquote = intoNew + `tr -d "\"'" < FILE` + onlyNew
	hintURL     = intoNew + "tr _- /+ < FILE" + onlyNew
)

// The hints. The operator fills in the words in capitals.
const (
	openP12         = pipeDER + "openssl pkcs12 -in " + derFile
	hintReexport    = openP12 + " -passin pass: -nodes | " + packAll
	hintFewer       = "export it again with fewer: 2048 are usual"
	hintPassphrase  = openP12 + " -nodes | " + packAll
	hintDamaged     = "get the file again from its source; if openssl opens this one: " + hintPassphrase
	hintAddKey      = pack + "FILE --key KEY" + packAs
	hintAddKeyDER   = pipeDER + pack + derFile + " --key KEY" + packAs
	hintAddCert     = pack + "CERTIFICATE --key FILE" + packAs
	hintAddCertDER  = pipeDER + pack + "CERTIFICATE --key " + derFile + packAs
	hintFromPEM     = pack + "FILE --key FILE" + packAs
	hintAllPEM      = "base64 -di FILE | " + packAll
	hintMissingKey  = openP12 + " -passin pass: -nokeys | " + pack + "/dev/stdin --key KEY" + packAs
	hintMissingCert = openP12 + " -passin pass: -nocerts -nodes | " + pack + "CERTIFICATE --key /dev/stdin" + packAs
	hintPairUp      = "pack the right pair: " + pack + "CERTIFICATE --key KEY" + packAs
	hintSubmit      = "pack the certificate that the authority returned for the request"
	hintNewRSA      = "ask for a new RSA certificate, or make one: aoifleet certificate new --out new.p12.b64"
	hintFetch       = "get the file again from its source"
)

func flawed(hint, format string, args ...any) *flaw {
	return &flaw{fmt.Sprintf(format, args...), hint}
}

// addressed fills in how the file is read.
func (p *flaw) addressed(raw bool) *flaw {
	words := strings.NewReplacer(pipeDER, "base64 -di FILE | ", derFile, "/dev/stdin")
	if raw {
		words = strings.NewReplacer(pipeDER, "", derFile, "FILE")
	}
	return &flaw{p.message, words.Replace(p.hint)}
}

// needed are options of openssl-pkcs12(1) that a file with one of these algorithms, as
// encoded in DER, needs: OpenSSL 3 has RC2, RC4 and DES only in its legacy provider, and
// before 3.4 it can't check a PBMAC1 MAC (it decrypts nonetheless).
var needed = map[string][]string{
	" -legacy": {
		"1.2.840.113549.1.12.1.1", "1.2.840.113549.1.12.1.2", "1.2.840.113549.1.12.1.5", "1.2.840.113549.1.12.1.6",
		"1.2.840.113549.1.5.1", "1.2.840.113549.1.5.3", "1.2.840.113549.1.5.4", "1.2.840.113549.1.5.6",
		"1.2.840.113549.1.5.10", "1.2.840.113549.1.5.11",
	},
	" -nomacver": {oidPBMAC1},
}

// sealedBy adds to the hint what openssl needs for the algorithms of the file. It searches
// their bytes: a file in BER is not parsed.
func (p *flaw) sealedBy(file []byte) *flaw {
	hint := p.hint
	for _, option := range []string{" -legacy", " -nomacver"} {
		if slices.ContainsFunc(needed[option], func(oid string) bool { return bytes.Contains(file, derOID(oid)) }) {
			hint = strings.Replace(hint, openP12, openP12+option, 1)
		}
	}
	return &flaw{p.message, hint}
}

// derOID encodes an object identifier; it returns nil for none.
func derOID(dotted string) []byte {
	var id asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(dotted, ".") {
		n, _ := strconv.Atoi(arc)
		id = append(id, n)
	}
	der, _ := asn1.Marshal(id)
	return der
}

// at names the file in message and hint.
func (p *flaw) at(path string) *flaw {
	return &flaw{path + ": " + p.message, hintOn(runtime.GOOS, p.hint, "FILE", path)}
}

// ofFiles names the files of Pack in message and hint.
func (p *flaw) ofFiles(cert, key string) *flaw {
	message := strings.NewReplacer(certFile, certFile+" "+cert, keyFile, keyFile+" "+key)
	return &flaw{message.Replace(p.message), hintOn(runtime.GOOS, p.hint, "CERTIFICATE", cert, "KEY", key)}
}
