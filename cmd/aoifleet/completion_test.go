package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completed returns what the program offers for the last of args; directive is cobra's.
func completed(t *testing.T, inventory string, args ...string) (words []string, directive string) {
	t.Helper()
	code, stdout, stderr := runAlone(t, inventory, append([]string{"__complete"}, args...)...)
	if code != 0 || strings.Contains(stderr, "rror") {
		t.Errorf("%q: %d %s", args, code, stderr)
	}
	words = strings.Split(strings.TrimSpace(stdout), "\n")
	return words[:len(words)-1], words[len(words)-1]
}

func TestCompletion(t *testing.T) {
	inventory := unreachableInventory(t)
	for line, want := range map[string]string{
		"plan -l lon":             "london london-1 london-2",
		"plan -l s":               "site=here",
		"plan -l london-1,lon":    "london-1,london london-1,london-1 london-1,london-2",
		"rotate --limit all:!a":   "all:!all",
		"rotate --until ":         "1 canary",
		"rotate --on-failure r":   "rollback-all",
		"rotate --pause-after ":   "canary wave",
		"status -o ":              "text json prometheus",
		"rollback ":               "last",
		"runs show l":             "last",
		"certificate new --bits ": "2048 3072 4096",
		"help ex":                 "exit-codes",
		"status ":                 "",
		"plan --plan-id ":         "",
	} {
		words, directive := completed(t, inventory, strings.Split(line, " ")...)
		if strings.Join(words, " ") != want || strings.HasSuffix(line, "until ") && directive != ":4" {
			t.Errorf("%q: %q, want %q", line, words, want)
		}
	}
	if words, directive := completed(t, "", "plan", "-i", ""); strings.Join(words, " ") != "yaml yml" || directive != ":8" {
		t.Errorf("%q %s", words, directive)
	}
	if words, _ := completed(t, "", "plan", "-i", inventory, "-l", "london-"); len(words) != 2 {
		t.Errorf("%q", words)
	}
}

// A completion runs nothing and waits for nothing that an inventory names, and offers no word
// that a shell would expand. What is wrong is silent.
func TestCompletionOfHostileInventory(t *testing.T) {
	dir := t.TempDir()
	file, touched := filepath.Join(dir, "fleet.yaml"), filepath.Join(dir, "touched")
	text := `version: 1
defaults:
  certificate: {command: "touch TOUCHED"}
  passphrase_from: {command: "touch TOUCHED"}
  sudo: {password_from: {command: "touch TOUCHED"}}
  labels: {a: "$(touch TOUCHED)", b: "` + "`touch TOUCHED`" + `", c: "x;touch TOUCHED", d: "'", e: plain, f: "two words", g: "-o", h: "a\\b", i: "a:b", j: "a,b"}
hosts: {one: }
`
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "TOUCHED", touched)), 0o600); err != nil {
		t.Fatal(err)
	}
	words, _ := completed(t, file, "plan", "-l", "")
	if want := []string{"all", "e=plain", "g=-o", "one"}; !slices.Equal(words, want) {
		t.Errorf("%q, want %q", words, want)
	}
	for _, bad := range []string{"version: 2\n", "", "{{{", "version: 1\nhosts: {$(touch x): }\n"} {
		wrong := filepath.Join(dir, "wrong.yaml")
		if err := os.WriteFile(wrong, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if words, directive := completed(t, wrong, "plan", "-l", ""); len(words) != 0 || directive != ":4" {
			t.Errorf("%q: %q %s", bad, words, directive)
		}
	}
	for _, odd := range []string{dir, dir + "/none", "/dev/stdin", "/dev/zero"} {
		if words, _ := completed(t, odd, "plan", "-l", ""); len(words) != 0 {
			t.Errorf("%s: %q", odd, words)
		}
	}
	if _, err := os.Stat(touched); err == nil {
		t.Error("a command of the inventory was run")
	}
}
