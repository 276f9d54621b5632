package report

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

var (
	moreText  = regexp.MustCompile(`, … and (\d+) more \((\d+) hosts; --verbose names all\)$`)
	wholeText = regexp.MustCompile(`^(g\d): all (\d+)$`)
	rangeText = regexp.MustCompile(`\[(\d+)-(\d+)\]`)
)

// Every host of a folded list is named once, by its name, its range or its group, or counted as
// one of those left out. With --verbose none is left out, and each is named by itself.
func TestFoldedListIsWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		v, names := randomList(random)
		for _, v.Verbose = range []bool{false, true} {
			for _, text := range []string{v.hosts(names), v.inOrder(names)} {
				named := map[string]int{}
				left := 0
				body := text
				if m := moreText.FindStringSubmatch(text); m != nil {
					left, _ = strconv.Atoi(m[1])
					body = strings.TrimSuffix(text, m[0])
				} else if len(names) > 1 {
					body = strings.TrimSuffix(text, fmt.Sprintf(" (%d hosts)", len(names)))
				}
				whole := false
				for _, part := range strings.Split(body, ", ") {
					if m := wholeText.FindStringSubmatch(part); m != nil {
						whole = true
						for _, name := range names {
							if v.groupOf[name] == m[1] {
								named[name]++
							}
						}
						continue
					}
					for _, name := range unfoldRange(part) {
						named[name]++
					}
				}
				for _, name := range names {
					if named[name] > 1 {
						t.Fatalf("%s is named %d times: %s", name, named[name], text)
					}
				}
				if len(named)+left != len(names) || v.Verbose && (left > 0 || whole) {
					t.Fatalf("of %d hosts %d are named and %d left (verbose: %v): %s", len(names), len(named), left, v.Verbose, text)
				}
			}
		}
	}
}

// randomList returns some hosts of a fleet with three groups, in a random order.
func randomList(random *rand.Rand) (v View, names []string) {
	stems := []string{"edr-%d", "edr-%03d", "vm%02d.example.net", strings.Repeat("long-", 12) + "%d", "r%d-b"}
	v = View{groupOf: map[string]string{}, sizes: map[string]int{}}
	share := random.IntN(4)
	for range 1 + random.IntN(150) {
		name := fmt.Sprintf(stems[random.IntN(len(stems))], random.IntN(60))
		if v.groupOf[name] != "" {
			continue
		}
		g := fmt.Sprint("g", random.IntN(3))
		v.groupOf[name] = g
		v.sizes[g]++
		if share == 0 || g != "g0" || random.IntN(share+1) > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return randomList(random)
	}
	random.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	return v, names
}

func unfoldRange(text string) []string {
	m := rangeText.FindStringSubmatch(text)
	if m == nil {
		return []string{text}
	}
	var names []string
	first, _ := strconv.Atoi(m[1])
	last, _ := strconv.Atoi(m[2])
	for n := first; n <= last; n++ {
		names = append(names, strings.Replace(text, m[0], fmt.Sprintf("%0*d", len(m[1]), n), 1))
	}
	return names
}

// A line is wider than the terminal only if one word is.
func TestLinesFitAnyWidth(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for width := 20; width <= 300; width++ {
		v, names := randomList(random)
		v.Width = width
		var out strings.Builder
		v.print(&out, "wave 2: ", 4, v.hosts(names))
		if words := strings.Join(strings.Fields(out.String()), " "); words != "wave 2: "+v.hosts(names) {
			t.Fatalf("%d: %s", width, words)
		}
		for line := range strings.Lines(out.String()) {
			if ansi.StringWidth(strings.TrimRight(line, "\n")) > width && len(strings.Fields(line)) > 1 && !strings.HasPrefix(line, "wave 2: ") {
				t.Errorf("%d columns: %q", width, line)
			}
		}
	}
}

// The commands after a run select every host that is not well, through the parser of --limit.
func TestNextCommandsSelectWhatIsLeft(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	all := []rollout.Outcome{rollout.Rotated, rollout.Current, rollout.Restored, rollout.Skipped, rollout.Unreachable, rollout.Refused, rollout.RolledBack, rollout.Unknown, rollout.Failed}
	for range 300 {
		_, names := randomList(random)
		run, inv := &rollout.Run{Stopped: random.IntN(2) == 0}, &inventory.Inventory{}
		want := map[string]bool{}
		for _, name := range names {
			h := inventory.Host{Name: name}
			inv.Hosts = append(inv.Hosts, h)
			o := all[random.IntN(len(all))]
			run.Results = append(run.Results, rollout.Result{Entry: rollout.Entry{Target: rollout.Target{Host: &h}, Action: rollout.Rotate, Outcome: o}})
			want[name] = !o.IsWell()
		}
		for _, command := range NextCommands(run, Commands{Again: []string{"again"}, Status: []string{"status"}}) {
			_, limit, _ := strings.Cut(command, " --limit ")
			hosts, err := inv.Select(strings.Trim(limit, "'"))
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			for _, h := range hosts {
				delete(want, h.Name)
			}
		}
		for name, left := range want {
			if left {
				t.Fatalf("%s is in no command: %q", name, NextCommands(run, Commands{Again: []string{"again"}, Status: []string{"status"}}))
			}
		}
	}
}
