//go:build e2e && linux

package e2e

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// mostPrograms is how many programs one rotation may start on a host, from the login to
// its end, the agent's restart by systemd not included. A change that needs more raises
// it, and says why.
const mostPrograms = 62

// TestProcesses counts the programs that a rotation starts on a host: the same number in
// every run.
func TestProcesses(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	w.defaults = map[string]any{"health": map[string]any{"window": "0s"}}
	w.run("rotate", "newer", nil, "--force") // what happens only the first time
	x := startTrace(t, w.fleet.Hosts[0], "sshd")
	document, code := w.run("rotate", "new", nil, "--force")
	w.expect(document, code, 0, map[string]int{"rotated": 1})
	names, all := map[string]int{}, 0
	for _, c := range x.calls() {
		if c.Name == "execve" && !c.Failed() {
			names[path.Base(strings.Trim(c.Args[0], `"`))]++
			all++
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		list = append(list, fmt.Sprint(name, " ", names[name]))
	}
	t.Logf("%d programs: %s", all, strings.Join(list, ", "))
	if all > mostPrograms || all < 20 {
		t.Errorf("%d programs, expected at most %d", all, mostPrograms)
	}
}
