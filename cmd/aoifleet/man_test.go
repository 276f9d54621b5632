package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Every command has a man page, which man reads without a warning.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if code, stdout, stderr := runAlone(t, "", "man", dir); code != problem.ExitOK || stdout+stderr != "" {
		t.Fatalf("%d %s%s", code, stdout, stderr)
	}
	var pages []string
	var all []byte // in one file, because man starts ten programs for each
	everyCommand(func(cmd *cobra.Command) {
		page := filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
		text, err := os.ReadFile(page)
		if written := err == nil; written != (cmd.IsAvailableCommand() || !cmd.HasParent()) {
			t.Errorf("%s: %v", cmd.CommandPath(), err)
		} else if written && !strings.Contains(string(text), ".SH EXAMPLE") {
			t.Errorf("%s has no example", page)
		} else if written {
			pages, all = append(pages, page), append(all, text...)
		}
	})
	if len(pages) < 30 {
		t.Errorf("%d pages", len(pages))
	}
	if code, _, stderr := runAlone(t, "", "man", filepath.Join(pages[0], "x")); code != problem.ExitUsage || !strings.HasPrefix(stderr, "error: cannot write the man pages: ") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, err := exec.LookPath("man"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("man is not installed")
		}
		t.Skip("man is not installed")
	}
	joined := filepath.Join(dir, "all.1")
	if err := os.WriteFile(joined, all, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", joined)
	cmd.Env = append(os.Environ(), "MANPAGER=cat", "PAGER=cat", "MANROFFOPT=", "MANWIDTH=80", "LC_ALL=C.UTF-8")
	var warnings strings.Builder
	cmd.Stderr = &warnings
	// Each page has its own header.
	out, err := cmd.Output()
	if text := string(out); err != nil || warnings.Len() > 0 ||
		!strings.Contains(text, "aoifleet rotate -i fleet.yaml") || strings.Count(text, "\nNAME\n") != len(pages) {
		t.Errorf("%v %.2000s", err, warnings.String())
	}
}
