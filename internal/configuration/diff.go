package configuration

import (
	"bytes"
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

// text makes data safe to print, a line for each of its lines.
func text(data []byte) string {
	return display.MaskLines(strings.ToValidUTF8(string(data), "?"))
}
