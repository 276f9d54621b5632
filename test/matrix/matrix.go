// Package matrix writes the result tables of the fault matrix in
// docs/reliability.md, and checks in later runs that no case is missing.
package matrix

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Row is one case and its result.
type Row struct {
	Step     string // step of the rotation at which the fault occurs
	Fault    string
	Reported string // the outcome in the program's report; "none": the program was killed
	Found    string // final state of the host: "old", "new", with the agent's health
	Settled  string // what ended the transaction: "the run", "the host", "recover", "rotate", "reboot"
}

func (r Row) line() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", r.Step, r.Fault, r.Reported, r.Found, r.Settled)
}

// name identifies a case.
func (r Row) name() string { return "| " + r.Step + " | " + r.Fault + " |" }

// Publish replaces the table of a section in docs/reliability.md by rows if
// AOIFLEET_WRITE_DOCS is set. Otherwise it fails the test if the table
// has other cases than the run. Outcomes may differ between runs if
// two sides race; the test itself checks the guarantees.
func Publish(t testing.TB, section string, rows []Row) {
	t.Helper()
	if table := Section(t, section, format(rows)); os.Getenv("AOIFLEET_WRITE_DOCS") == "" {
		compare(t, table, rows)
	}
}

// Section returns the text of a section in docs/reliability.md, and replaces it by text if
// AOIFLEET_WRITE_DOCS is set.
func Section(t testing.TB, section, text string) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "..", "..", "docs", "reliability.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+section+" begin -->\n", "<!-- "+section+" end -->\n"
	before, rest, ok := strings.Cut(string(data), begin)
	found, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no section %q", path, section)
	}
	if os.Getenv("AOIFLEET_WRITE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(before+begin+text+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func format(rows []Row) string {
	var b strings.Builder
	b.WriteString("| step | fault | reported | on the host in the end | settled by |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		b.WriteString(r.line())
	}
	fmt.Fprintf(&b, "\n%d cases.\n", len(rows))
	return b.String()
}

func compare(t testing.TB, table string, rows []Row) {
	t.Helper()
	var ran, written []string
	for _, r := range rows {
		ran = append(ran, r.name())
	}
	for line := range strings.Lines(table) {
		if cells := strings.SplitN(line, "|", 4); len(cells) == 4 && cells[0] == "" && !strings.HasPrefix(line, "|--") && !strings.HasPrefix(line, "| step ") {
			written = append(written, "|"+cells[1]+"|"+cells[2]+"|")
		}
	}
	slices.Sort(ran)
	slices.Sort(written)
	if !slices.Equal(ran, written) {
		t.Errorf("docs/reliability.md is not of this suite; write it anew with AOIFLEET_WRITE_DOCS=1.\nran: %q\nwritten: %q", ran, written)
	}
}
