// Command mutate changes one operator of a package at a time and runs the package's own
// tests: those that still pass say nothing about that operator. It fails if such a mutant is
// not in equivalent.txt.
//
//	go run ./test/mutate [-v] [-only TEXT] [internal/rollout | internal/host/health.go ...]
//
// All mutants of a package are in one test program, which takes the number of the one
// to run from its environment. So each costs one run of the tests and no compilation, and the
// conditions of switch cases, which belong to no block of Go's coverage profile, are
// tried too. The mutants are the ones that gremlins has by default
// (github.com/go-gremlins/gremlins), except those in constants.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"strings"
)

// targets are the packages and files with the arguments of their test programs. Left out are
// tests that take seconds.
var targets = []target{
	{"internal/rollout", []string{"-test.skip=^TestSimulation$"}},
	{"internal/planfile", nil},
	{"internal/journal", nil},
	{"internal/inventory", []string{"-test.skip=^(TestExpansionsAreBounded|TestMostHosts)$"}},
	{"internal/certificate", []string{"-test.skip=^(TestFreshFixtures|TestCertificatesThatGoRefuses|TestFilesOfOtherPrograms)$|^TestCommittedFixtures$/^(many|sum)-rounds$"}},
	{"internal/host/health.go", []string{"-test.run=Health|Verdict"}},
}

type target struct {
	path string // a package's folder, or one of its files
	args []string
}

//go:embed equivalent.txt
var equivalent string

func main() {
	verbose := flag.Bool("v", false, "print killed mutants too")
	only := flag.String("only", "", "try only the mutants whose text has this in it")
	flag.Parse()
	listed, err := readList(equivalent)
	chosen := targets
	if flag.NArg() > 0 {
		chosen = choose(flag.Args())
	}
	failed := err != nil
	for _, t := range chosen {
		if err != nil {
			break
		}
		var r *result
		if r, err = t.run(*only, *verbose); err == nil {
			failed = r.report(listed, *only) || failed
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// choose returns the targets with these paths. A path that is not in the table runs all tests of
// its package.
func choose(paths []string) (chosen []target) {
	for _, path := range paths {
		path = strings.TrimSuffix(strings.TrimPrefix(path, "./"), "/")
		t := target{path: path}
		for _, known := range targets {
			if known.path == path {
				t = known
			}
		}
		chosen = append(chosen, t)
	}
	return chosen
}

// readList reads equivalent.txt: mutants as they are printed, each followed by its reason in
// indented lines.
func readList(text string) (map[string]bool, error) {
	listed, last := map[string]bool{}, ""
	for n, line := range strings.Split(text, "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '\t' && last != "":
			listed[last] = true
		case line[0] == '\t' || last != "" && !listed[last] || listed[line]:
			return nil, fmt.Errorf("equivalent.txt:%d: a mutant without a reason, or twice", n+1)
		default:
			last = line
		}
	}
	if last != "" && !listed[last] {
		return nil, fmt.Errorf("equivalent.txt: no reason for %s", last)
	}
	return listed, nil
}
