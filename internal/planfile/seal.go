package planfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// errEdited is the error of Parse for a plan whose content does not match its digest.
var errEdited = errors.New("was edited: its content does not match its digest")

// noSignature is the hint of errEdited.
const noSignature = again + ". The digest is not a signature: compare the plan id with the approved one"

// shownDigest is the number of hex digits of the digest in an id: enough that no
// second plan with the same digits can be found.
const shownDigest = 32

// ID returns the id that a reviewer approves: the plan id and the start of the digest,
// which pins the content. It is complete once the plan was read or written.
func (p *Plan) ID() string { return p.PlanID + "-" + p.Digest[:min(len(p.Digest), shownDigest)] }

// seal sets the digest of p and returns p as JSON.
func (p *Plan) seal() ([]byte, error) {
	p.Digest = ""
	text, err := p.encode()
	if err != nil {
		return nil, err
	}
	p.Digest = digestOf(text, "")
	return p.encode()
}

// encode returns p as JSON. It does not escape HTML, so that other programs that write
// JSON compute the same digest.
func (p *Plan) encode() ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(p)
	return text.Bytes(), err
}

// digestOf returns the SHA-256 of a plan's JSON without insignificant white space and
// with an empty digest in place of the stated one, "" if text is not JSON. It covers
// the text and not the decoded plan, so that a duplicate key changes it.
func digestOf(text []byte, stated string) string {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return ""
	}
	field := func(value string) []byte { return []byte(`"digest":"` + value + `"`) }
	sum := sha256.Sum256(bytes.Replace(compact.Bytes(), field(stated), field(""), 1))
	return hex.EncodeToString(sum[:])
}
