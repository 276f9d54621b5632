//go:build e2e && linux

package e2e

import (
	"fmt"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
	"github.com/aoifleet/aoifleet/test/e2e/trace"
)

// mostPrograms is how many programs one rotation may start on a host, from the login to
// its end, the agent's restart by systemd not included, in a folder that the agent's user
// owns. date(1) is not counted: on a machine that stalls, the script reads the clocks again, at
// most four times. A change that needs more raises it, and says why.
const mostPrograms = 68

// TestProcesses counts the programs that a rotation starts on a host. A stall of the
// machine can add some, so the least of three counts.
func TestProcesses(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	w.defaults = map[string]any{"health": map[string]any{"window": "0s"}}
	w.run("rotate", "newer", nil, "--force") // what happens only the first time
	least := math.MaxInt
	for _, certificate := range []string{"new", "newer", "new"} {
		programs := w.programs(certificate)
		if got := stepsOf(programs); !slices.Equal(got, safety) {
			t.Errorf("steps:\n%s\nexpected:\n%s", strings.Join(got, "\n"), strings.Join(safety, "\n"))
		}
		if least = min(least, len(programs)); least <= mostPrograms {
			break
		}
	}
	if least > mostPrograms || least < 20 {
		t.Errorf("%d programs, expected at most %d", least, mostPrograms)
	}
}

// safety is what makes a rotation safe, with a window of 0: each question to systemd, the
// backup, each sync, lock and receipt, and the order of all of them. No change that saves time may
// leave one out or move one.
var safety = []string{
	"systemctl show az-aoi-ingestion.service",
	"mkdir RUN",
	"flock 7",
	"ln receipt pending",
	"cp dp.p12 certificate",
	"dd certificate",
	"cp certificate staged-RUN",
	"cp staged-RUN .aoifleet-RANDOM",
	"ln aoifleet-guard-az-aoi-ingestion-RUN.service aoifleet-guard-az-aoi-ingestion-RUN.service",
	"sync . az-aoi-ingestion.service system",
	"systemd-run aoifleet-undo-az-aoi-ingestion-RUN",
	"flock 6",
	"ln .aoifleet-RANDOM dp.p12",
	"rm .aoifleet-RANDOM",
	"systemctl restart az-aoi-ingestion.service",
	"systemctl show az-aoi-ingestion.service",
	"sync .",
	"flock 6",
	"mv pending confirmed",
	"sync az-aoi-ingestion.service",
	"rm staged-RUN undo.log aoifleet-guard-az-aoi-ingestion-RUN.service aoifleet-guard-az-aoi-ingestion-RUN.service",
	"systemctl stop aoifleet-undo-az-aoi-ingestion-RUN.timer",
	"rm deadline host.sh",
}

var (
	runName    = regexp.MustCompile(`\d{8}-\d{6}-[A-Z0-9]{4}`)
	randomName = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
	quotedWord = regexp.MustCompile(`"([^"]*)"`)
	numberWord = regexp.MustCompile(`^\d+$`)
)

// stepsOf returns the programs that belong to safety, each with the last elements of the
// paths in its arguments.
func stepsOf(programs []*trace.Call) []string {
	var steps []string
	for _, c := range programs {
		line := strings.Join(c.Args, ", ")
		line = randomName.ReplaceAllString(runName.ReplaceAllString(line, "RUN"), "RANDOM")
		name, words := "", []string{}
		for i, m := range quotedWord.FindAllStringSubmatch(line, -1) {
			word := m[1]
			switch {
			case i == 0:
				name = path.Base(word)
			case i == 1: // the program's own name again
			case strings.HasPrefix(word, "of="), strings.HasPrefix(word, "--unit="):
				_, word, _ = strings.Cut(word, "=")
				words = append(words, path.Base(word))
			case strings.HasPrefix(word, "-"), strings.Contains(word, "="), strings.Contains(word, ","):
			case name == "systemd-run":
			case numberWord.MatchString(word) && name != "flock":
			default:
				words = append(words, path.Base(word))
			}
		}
		switch step := strings.Join(append([]string{name}, words...), " "); name {
		case "dd":
			if len(words) > 0 {
				steps = append(steps, step)
			}
		case "flock":
			steps = append(steps, "flock "+words[len(words)-1])
		case "systemctl", "systemd-run", "sync", "cp", "mv", "mkdir", "ln":
			steps = append(steps, step)
		case "rm":
			// The login user's copy is removed by a process of that user, at the same time.
			if !strings.HasPrefix(step, "rm .aoifleet-RUN") {
				steps = append(steps, step)
			}
		}
	}
	return steps
}

// programs rotates the first host and returns the programs that this starts.
func (w *world) programs(certificate string) (all []*trace.Call) {
	w.t.Helper()
	x := startTrace(w.t, w.fleet.Hosts[0], "sshd")
	document, code := w.run("rotate", certificate, nil, "--force")
	w.expect(document, code, 0, map[string]int{"rotated": 1})
	names := map[string]int{}
	for _, c := range x.calls() {
		if c.Name != "execve" || c.Failed() {
			continue
		}
		name := path.Base(strings.Trim(c.Args[0], `"`))
		names[name]++
		if name != "date" {
			all = append(all, c)
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		list = append(list, fmt.Sprint(name, " ", names[name]))
	}
	w.t.Logf("%d programs: %s", len(all), strings.Join(list, ", "))
	return all
}
