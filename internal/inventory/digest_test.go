package inventory

import "testing"

// A saved plan identifies its inventory by this digest (sha256sum FILE).
func TestDigest(t *testing.T) {
	const text = "version: 1\nhosts: {a: }\n"
	inv, err := Parse("x.yaml", []byte(text), Env{User: "u", Home: "/h"})
	if err != nil || inv.Digest != "f960fce3f012d821cd23c908e3482b80e08f35ec4c35d14a2a00f9683bc91e57" {
		t.Errorf("%q, %v", inv.Digest, err)
	}
}
