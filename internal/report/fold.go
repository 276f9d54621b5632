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

// shownPlaces is how many addresses a line of text shows.
const shownPlaces = 3

// foldPlaces returns a folded list of sorted places, HOST:PORT, for a line of text: those of
// one port as ranges.
func foldPlaces(places []string) string {
	hostsOf, ports := map[string][]string{}, []string{}
	for _, place := range places {
		i := strings.LastIndexByte(place, ':')
		host, port := place[:max(i, 0)], place[max(i, 0):]
		if hostsOf[port] == nil {
			ports = append(ports, port)
		}
		hostsOf[port] = append(hostsOf[port], host)
	}
	var list []string
	for _, port := range ports {
		for _, host := range inventory.Fold(hostsOf[port]) {
			list = append(list, host+port)
		}
	}
	if more := len(list) - shownPlaces; more > 1 {
		list = append(list[:shownPlaces], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

func counted(folded []string, hosts int) string {
	text := strings.Join(folded, ", ")
	if hosts > 1 {
		text += fmt.Sprintf(" (%d hosts)", hosts)
	}
	return text
}
