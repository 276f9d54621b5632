package planfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Any edit of a plan's content is detected when it is read; a change of layout is not
// an edit.
func TestEditIsRefused(t *testing.T) {
	whole := string(encoded(t, example()))
	digest := sealed(t).Digest
	replace := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("the example has no %s", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	tests := map[string]string{
		"the dead-man switch":     replace(`"deadman":true`, `"deadman":false`),
		"force":                   replace(`"force":true`, `"force":false`),
		"the canary":              replace(`"canary":0`, `"canary":3`),
		"a wave":                  replace(`"wave":1`, `"wave":2`),
		"no wave":                 replace(`"wave":1`, `"wave":null`),
		"a host's name":           replace(`"name":"a"`, `"name":"z"`),
		"a host key":              replace(`"host_key":"SHA256:k"`, `"host_key":"SHA256:l"`),
		"an error":                replace(`"message":"full"`, `"message":"fun"`),
		"the owner":               replace(`"owner":"op@vm"`, `"owner":"me@vm"`),
		"the plan id":             replace(`"plan_id":"20261123-090000-AAAA"`, `"plan_id":"20261123-090000-BBBB"`),
		"the program's version":   replace(`"tool_version":"v1"`, `"tool_version":"v2"`),
		"the digest":              replace(digest, strings.Repeat("0", 64)),
		"no digest":               replace(digest, ""),
		"the digest left out":     replace(`"digest":"`+digest+`",`, ""),
		"the digest in capitals":  replace(digest, strings.ToUpper(digest)),
		"the digest, escaped":     replace(digest, `\u00`+hex.EncodeToString([]byte(digest[:1]))+digest[1:]),
		"a key twice":             replace(`"force":true`, `"force":true,"force":true`),
		"a key in another case":   replace(`"force":true`, `"Force":true`),
		"a character, escaped":    replace(`"name":"a"`, `"name":"\u0061"`),
		"two keys in other order": replace(`"force":true,"deadman":true`, `"deadman":true,"force":true`),
	}
	for name, text := range tests {
		if p, err := Parse([]byte(text)); p != nil || err != errEdited {
			t.Errorf("%s: %v", name, err)
		}
	}
	var laidOut bytes.Buffer
	if err := json.Indent(&laidOut, []byte(whole), "\t", "    "); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(laidOut.Bytes()); err != nil {
		t.Errorf("laid out differently: %v", err)
	}
}

// The hint says that a digest is not a signature.
func TestEditIsExplained(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(path, bytes.Replace(encoded(t, example()), []byte(`"deadman":true`), []byte(`"deadman":false`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Read(path)
	problem, ok := err.(*problem.Error)
	if !ok || problem.Message != path+" was edited: its content does not match its digest" ||
		!strings.Contains(problem.Hint, "not a signature") || !strings.Contains(problem.Hint, "aoifleet plan --out FILE") {
		t.Errorf("%+v", err)
	}
}

// Any change of a plan changes its id.
func TestID(t *testing.T) {
	id := sealed(t).ID()
	if !regexp.MustCompile(`^20261123-090000-AAAA-[0-9a-f]{32}$`).MatchString(id) || id != sealed(t).ID() {
		t.Error(id)
	}
	other := example()
	other.Policy.Deadman = false
	encoded(t, other)
	if other.ID() == id {
		t.Errorf("two plans have the id %s", id)
	}
	if id := example().ID(); id != "20261123-090000-AAAA-" {
		t.Errorf("before it is written: %s", id)
	}
}

// Other programs can compute the digest: it is the SHA-256 of the compact JSON with an
// empty digest.
func TestDigest(t *testing.T) {
	p := example()
	p.Owner = "a<b>&c@vm"
	text := encoded(t, p)
	if !bytes.Contains(text, []byte(`"owner":"a<b>&c@vm"`)) {
		t.Errorf("%s", text)
	}
	sum := sha256.Sum256(bytes.Replace(text, []byte(p.Digest), nil, 1))
	if p.Digest != hex.EncodeToString(sum[:]) {
		t.Errorf("%s, want %x", p.Digest, sum)
	}
}
