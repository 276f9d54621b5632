// Package model checks a model of the transaction with spin, and compares it with the
// steps of real runs.
package model

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// bounds are the sizes of the exhaustive checks: the first without the variable BOUNDS, all
// with "all", else the one that it contains, for example a power cut during a recover:
// -DRUNS=1 -DKILLS=0 -DCUTS=1 -DRECOVERS=1 -DERRORS=0
var bounds = []string{
	"-DRUNS=1 -DKILLS=1 -DCUTS=1 -DRECOVERS=0 -DERRORS=0",
	"-DRUNS=1 -DKILLS=1 -DCUTS=0 -DRECOVERS=1 -DERRORS=1",
	"-DRUNS=2 -DKILLS=0 -DCUTS=0 -DRECOVERS=0 -DERRORS=0",
	"-DFILES=3 -DRUNS=1 -DKILLS=1 -DCUTS=1 -DRECOVERS=0 -DERRORS=0",
	"-DPACKAGE -DRUNS=1 -DKILLS=1 -DCUTS=1 -DRECOVERS=0 -DERRORS=0",
}

// spin compiles the model in an empty folder.
func spin(t *testing.T, sequences string, flags ...string) (checker string) {
	t.Helper()
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	model, err := os.ReadFile("transaction.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"transaction.pml": string(model), "sequences.h": sequences} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "spin", append(append([]string{"-a"}, flags...), "transaction.pml")...)
	optimise := "-O2"
	if slices.Contains(flags, "-DTRACE") {
		optimise = "-O0" // a replay has few states: gcc takes longer than the checker
	}
	run(t, dir, "gcc", optimise, "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
	return filepath.Join(dir, "pan")
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// TestModel checks all states.
func TestModel(t *testing.T) {
	t.Parallel()
	wanted := bounds[:1]
	switch size := os.Getenv("BOUNDS"); size {
	case "":
	case "all":
		wanted = bounds
	default:
		wanted = []string{size}
	}
	for _, bound := range wanted {
		t.Run(bound, func(t *testing.T) {
			t.Parallel()
			checker := spin(t, "", strings.Fields(bound)...)
			out := run(t, filepath.Dir(checker), checker, "-m100000", "-w22", "-n")
			if !strings.Contains(out, "errors: 0") || strings.Contains(out, "max search depth too small") {
				t.Fatalf("%s\n%s", out, run(t, filepath.Dir(checker), checker, "-r", "transaction.pml.trail"))
			}
			t.Log(regexp.MustCompile(`\d+ states, stored`).FindString(out))
		})
	}
}

// step is one line of a recording: a process and what it does.
type step struct{ process, name string }

var processes = []string{"world", "run", "second", "timer", "second-timer", "recover", "boot"}

// recordings returns the steps of real runs, by the name of their story.
// TestModelRecordings in internal/host writes them.
func recordings(t *testing.T) map[string][]step {
	t.Helper()
	text, err := os.ReadFile("testdata/steps.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]step{}
	for story := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		lines := strings.Split(story, "\n")
		for _, line := range lines[1:] {
			process, name, _ := strings.Cut(line, " ")
			found[lines[0]] = append(found[lines[0]], step{process, name})
		}
	}
	return found
}

// sequences prints the sequences as an array in C, with the numbers of the model. Each
// ends with 0.
func sequences(t *testing.T, all [][]step) (text string, longest int) {
	t.Helper()
	model, err := os.ReadFile("transaction.pml")
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int{}
	for _, found := range regexp.MustCompile(`(?m)^#define ([A-Z_]+) (\d+)`).FindAllStringSubmatch(string(model), -1) {
		numbers[found[1]], _ = strconv.Atoi(found[2])
	}
	var b strings.Builder
	for _, steps := range all {
		b.WriteString("{")
		for _, s := range steps {
			number, process := numbers[strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))], slices.Index(processes, s.process)
			if number == 0 || process < 0 {
				t.Fatalf("the model has no %v", s)
			}
			fmt.Fprintf(&b, "%d,", process*32+number)
		}
		b.WriteString("0},\n")
		longest = max(longest, len(steps)+1)
	}
	return fmt.Sprintf("static unsigned char sequences[%d][%d] = {\n%s};\n", len(all), longest, b.String()), longest
}

// possible are changed sequences that can happen: the answer was another one.
var possible = []string{"# killed before confirm, power cut without 12, {run sync-cert}", "# package, killed before confirm, power cut, recover without 15, {run sync-cert}"}

// TestRecordedSteps replays the recorded steps in the model, which must accept them, and
// the same with one step left out or two steps swapped, which it must refuse.
func TestRecordedSteps(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{oneFile, threeFiles, withPackage} {
		t.Run(kind, func(t *testing.T) { t.Parallel(); replay(t, kind) })
	}
}

// The beginnings of the names of recordings.
const (
	oneFile     = "# "
	threeFiles  = "# three files, "
	withPackage = "# package, "
)

// kindOf returns the beginning of a recording's name.
func kindOf(name string) string {
	for _, kind := range []string{threeFiles, withPackage} {
		if strings.HasPrefix(name, kind) {
			return kind
		}
	}
	return oneFile
}

func replay(t *testing.T, kind string) {
	var all [][]step
	var names []string
	real := map[int]bool{}
	for name, steps := range recordings(t) {
		if kindOf(name) != kind {
			continue
		}
		real[len(all)] = true
		all, names = append(all, steps), append(names, name)
		for i, s := range steps {
			if s.name == "end" || s.name == "kill" || s.name == "power" {
				continue
			}
			next := steps[i+1]
			if next.name == "kill" { // it can be killed one step earlier
				continue
			}
			all, names = append(all, slices.Delete(slices.Clone(steps), i, i+1)), append(names, fmt.Sprintf("%s without %d, %s", name, i+1, s))
			if next.process == s.process && next != s {
				changed := slices.Clone(steps)
				changed[i], changed[i+1] = next, s
				all, names = append(all, changed), append(names, fmt.Sprintf("%s with %d, %s, after the next", name, i+1, s))
			}
		}
	}
	text, longest := sequences(t, all)
	checker := spin(t, text, "-DTRACE", "-DRUNS=2", "-DKILLS=1", "-DCUTS=1", "-DRECOVERS=1", "-DERRORS=1",
		map[string]string{oneFile: "-DFILES=1", threeFiles: "-DFILES=3", withPackage: "-DPACKAGE"}[kind], fmt.Sprint("-DLONGEST=", longest), fmt.Sprint("-DSEQUENCES=", len(all)))
	out := run(t, filepath.Dir(checker), checker, "-m100000", "-n", "-E")
	accepted := map[int]bool{}
	for _, found := range regexp.MustCompile(`(?m)^possible (\d+)$`).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(found[1])
		accepted[n] = true
	}
	for i, name := range names {
		if want := real[i] || slices.Contains(possible, name); accepted[i] != want {
			t.Errorf("%s: the model accepts it: %v, want %v", name, accepted[i], want)
		}
	}
	t.Logf("%d recordings, %d changed ones", len(real), len(all)-len(real))
}
