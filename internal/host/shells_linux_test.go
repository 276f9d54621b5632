package host

import (
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// shells returns the shells that host.sh supports. bash as sh is in POSIX mode; TestRotate
// also runs plain bash.
func shells(t *testing.T) [][]string {
	t.Helper()
	found := [][]string{}
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		if _, err := exec.LookPath(shell[0]); err == nil {
			found = append(found, shell)
		} else if shell[0] == "dash" || shell[0] == "bash" && os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed for this test", shell[0])
		}
	}
	return found
}

// otherShells is set by make matrix, which completes make test.
var (
	otherShells = flag.Bool("other-shells", false, "run the tests in a third of the shells that they do not use without this flag, every row of the long tables, and more of the faults")
	shellSeed   = flag.Uint("shell-seed", 1, "choose the shells of -other-shells with this `SEED`")
)

// inEachShell runs a test on a machine of its own: under one of the shells, as inOneShell,
// with -other-shells under some of the others, and with the tag matrix under all.
func inEachShell(t *testing.T, test func(t *testing.T, m *machine)) {
	t.Helper()
	switch found, turn := inTurn(t); {
	case wholeMatrix:
		inShells(t, found, test)
	case *otherShells:
		inShells(t, others(t, found, turn), test)
	default:
		inShells(t, found[turn:turn+1], test)
	}
}

// inSample reports whether a case of a table of faults runs: one of 24 in make test, one of
// three in make matrix, all in make matrix-full.
func inSample(number int) bool {
	return wholeMatrix || number%24 == 0 || *otherShells && number%3 == 0
}

// inMatrix reports whether make matrix or make matrix-full runs.
func inMatrix() bool { return wholeMatrix || *otherShells }

// rows counts the rows of long tables that have begun, by the name of the test.
var rows sync.Map

// leftOut reports whether make test leaves this row of a long table to make matrix, which runs
// all. Of each test it runs the first row, also if that is the only one that -run selects, and
// one of three.
func leftOut(t *testing.T) bool {
	test, _, _ := strings.Cut(t.Name(), "/")
	begun, _ := rows.LoadOrStore(test, new(atomic.Int64))
	return !inMatrix() && begun.(*atomic.Int64).Add(1)%3 != 1
}

// inOneShell runs a row of a long table, unless it is left out, under one of the shells, by the
// length of its name; each table has rows for all of them. make matrix-full runs it under every
// shell.
func inOneShell(t *testing.T, test func(t *testing.T, m *machine)) {
	t.Helper()
	switch found, turn := inTurn(t); {
	case wholeMatrix:
		inShells(t, found, test)
	case !leftOut(t):
		inShells(t, found[turn:turn+1], test)
	}
}

// inTurn returns all shells, and the index of the one whose turn it is.
func inTurn(t *testing.T) ([][]string, int) {
	t.Helper()
	found := shells(t)
	return found, len(t.Name()) % len(found)
}

// others returns a third of the shells whose turn it is not, chosen by -shell-seed.
func others(t *testing.T, found [][]string, turn int) [][]string {
	var chosen [][]string
	for i, shell := range found {
		if sum := crc32.ChecksumIEEE(fmt.Append(nil, *shellSeed, t.Name(), shell)); i != turn && sum%3 == 0 {
			chosen = append(chosen, shell)
		}
	}
	return chosen
}

func inShells(t *testing.T, shells [][]string, test func(t *testing.T, m *machine)) {
	t.Helper()
	for _, shell := range shells {
		t.Run(strings.Join(shell, ""), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.shell = shell
			test(t, m)
		})
	}
}
