// Package report prints results as text and JSON. It decides nothing.
package report

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// hosts returns a folded list of hosts for a line of text, with their number if there are
// several.
func hosts(names []string) string { return counted(inventory.Fold(names), len(names)) }

// inOrder is like hosts, but keeps the order of the list.
func inOrder(names []string) string { return counted(inventory.FoldInOrder(names), len(names)) }

func counted(folded []string, hosts int) string {
	text := strings.Join(folded, ", ")
	if hosts > 1 {
		text += fmt.Sprintf(" (%d hosts)", hosts)
	}
	return text
}
