// Package report turns what a run found and did into text and JSON. It decides
// nothing.
package report

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// hosts returns a list of hosts for a line of text, with the count where it is not
// plain to see.
func hosts(names []string) string { return counted(inventory.Fold(names), len(names)) }

// inOrder is hosts for a list whose order matters.
func inOrder(names []string) string { return counted(inventory.FoldInOrder(names), len(names)) }

func counted(folded []string, hosts int) string {
	text := strings.Join(folded, ", ")
	if hosts > 1 {
		text += fmt.Sprintf(" (%d hosts)", hosts)
	}
	return text
}
