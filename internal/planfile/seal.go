package planfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// errEdited is what Parse says of a plan whose digest is another than it states.
var errEdited = errors.New("was edited: its content does not match its digest")

// noSignature is the hint of errEdited.
const noSignature = again + ". The digest is no signature: compare the plan id with the approved one"

// shownDigest is how much of the digest an id shows, in hex digits: so many that
// no other plan with the same can be found.
const shownDigest = 32

// ID is what a reviewer approves: it names the plan and pins its content. It is
// known once the plan was read or written.
func (p *Plan) ID() string { return p.PlanID + "-" + p.Digest[:min(len(p.Digest), shownDigest)] }

// seal sets the digest of p and returns p as text.
func (p *Plan) seal() ([]byte, error) {
	p.Digest = ""
	text, err := p.encode()
	if err != nil {
		return nil, err
	}
	p.Digest = digestOf(text, "")
	return p.encode()
}

// encode returns p as text; HTML is not escaped, so that other programs that
// write JSON come to the same digest.
func (p *Plan) encode() ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(p)
	return text.Bytes(), err
}

// digestOf is the SHA-256 of a plan's text without white space between its
// parts, and with an empty digest in place of the stated one. It is that of the
// text and not of what is read from it, so that a key that is there twice counts.
func digestOf(text []byte, stated string) string {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return ""
	}
	field := func(value string) []byte { return []byte(`"digest":"` + value + `"`) }
	sum := sha256.Sum256(bytes.Replace(compact.Bytes(), field(stated), field(""), 1))
	return hex.EncodeToString(sum[:])
}
