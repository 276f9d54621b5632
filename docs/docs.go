// Package docs has the documents that the program shows as help.
package docs

import (
	_ "embed" // of the documents
	"strings"
)

// Inventory is the document about the inventory file.
//
//go:embed inventory.md
var Inventory string

// Reference is the document about outcomes, exit codes and JSON.
//
//go:embed reference.md
var Reference string

// Section returns the section of a document with its heading, "" if there is none. It ends at
// the next heading of the same or a higher level.
func Section(document, heading string) string {
	_, rest, found := strings.Cut(document, "\n"+heading+"\n")
	if !found {
		return ""
	}
	level, _, _ := strings.Cut(heading, " ")
	lines := strings.SplitAfter(rest, "\n")
	for i, line := range lines {
		if hashes, _, ok := strings.Cut(line, " "); ok && hashes != "" && strings.Trim(hashes, "#") == "" && len(hashes) <= len(level) {
			lines = lines[:i]
			break
		}
	}
	return heading + "\n" + strings.Join(lines, "")
}
