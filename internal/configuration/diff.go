package configuration

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/aoifleet/aoifleet/internal/display"
)

// maxDiff is the length of the longest diff, in bytes.
const maxDiff = 64 << 10

// Diff returns the unified diff of two configurations, "" if they are equal. It is safe to
// print, and has at most 64 KiB.
func Diff(name string, old, new []byte) string {
	name = display.Sanitise(name, 200)
	diff := udiff.Unified(name, name, text(old), text(new))
	if diff == "" && !bytes.Equal(old, new) {
		return "--- " + name + "\n+++ " + name + "\n(they differ in characters that can't be shown)\n"
	}
	if len(diff) <= maxDiff {
		return diff
	}
	end := strings.LastIndexByte(diff[:maxDiff-100], '\n') + 1
	return diff[:end] + "… (the diff is longer)\n"
}

// signature matches the signature of a shared access signature (SAS): whoever has it has the
// storage. An agent's configuration names its secrets and has none, but an operator may have put one there.
var signature = regexp.MustCompile(`(?i)(\bsig=)[^&\s"']+`)

// text makes data safe to print, a line for each of its lines, without signatures.
func text(data []byte) string {
	return display.MaskLines(strings.ToValidUTF8(signature.ReplaceAllString(string(data), "${1}"+display.Redacted), "?"))
}
