//go:build e2e && linux

package e2e

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// mostPrograms is how many programs one rotation may start on a host, from the login to
// its end, the agent's restart by systemd not included, in a folder that the agent's user
// owns. A change that needs more raises it, and says why.
const mostPrograms = 73

// TestProcesses counts the programs that a rotation starts on a host. A stall of the
// machine can add some, so the least of three counts.
func TestProcesses(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	w.defaults = map[string]any{"health": map[string]any{"window": "0s"}}
	w.run("rotate", "newer", nil, "--force") // what happens only the first time
	least := math.MaxInt
	for _, certificate := range []string{"new", "newer", "new"} {
		if least = min(least, w.programs(certificate)); least <= mostPrograms {
			break
		}
	}
	if least > mostPrograms || least < 20 {
		t.Errorf("%d programs, expected at most %d", least, mostPrograms)
	}
}

// programs rotates the first host and returns the number of programs that this starts.
func (w *world) programs(certificate string) (all int) {
	w.t.Helper()
	x := startTrace(w.t, w.fleet.Hosts[0], "sshd")
	document, code := w.run("rotate", certificate, nil, "--force")
	w.expect(document, code, 0, map[string]int{"rotated": 1})
	names := map[string]int{}
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
	w.t.Logf("%d programs: %s", all, strings.Join(list, ", "))
	return all
}
