// Package docs has the documents that the program shows as help.
package docs

import (
	_ "embed" // of the documents
	"regexp"
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

// Pipelines is the document about pipelines.
//
//go:embed pipelines.md
var Pipelines string

// Configuration is the document about the agents' configurations.
//
//go:embed configuration.md
var Configuration string

// Secrets is the document about the secrets of SFTP sources.
//
//go:embed secrets.md
var Secrets string

// Monitoring is the document about status and its metrics.
//
//go:embed monitoring.md
var Monitoring string

// Engine is the document about rollouts on a Temporal server.
//
//go:embed engine.md
var Engine string

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

var (
	keyRow = regexp.MustCompile("^\\| `([a-z_]+)` \\|(?:([^|]*)\\|)? (.*) \\|$")
	link   = regexp.MustCompile(`\[((?:[^][]|\[[^][]*\])*)\]\([^)]*\)`)
)

// Keys returns what Inventory says about each key of the file, such as "health.window", with its
// default.
func Keys() map[string]string {
	about, section := map[string]string{}, ""
	for line := range strings.Lines(Inventory) {
		if heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && line[0] == '#' {
			section = ""
			if name := strings.TrimSpace(heading); strings.HasPrefix(name, "`") {
				section = strings.Trim(name, "`") + "."
			}
			continue
		}
		if m := keyRow.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			text := link.ReplaceAllString(m[3], "$1")
			if m[2] = strings.TrimSpace(m[2]); m[2] != "" {
				text += " (default: " + link.ReplaceAllString(m[2], "$1") + ")"
			}
			about[section+m[1]] = text
		}
	}
	return about
}
