package host

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// sent is the whole script without comments and indentation, as its parts are sent.
var sent = slim(Script())

func TestScriptHasOneMachineBlock(t *testing.T) {
	for name, text := range map[string]string{"read": Script(), "sent": sent} {
		before, rest, ok := strings.Cut(text, "# --- machine ---\n")
		block, after, ok2 := strings.Cut(rest, "# --- end machine ---\n")
		if !ok || !ok2 || strings.Contains(before+after, "--- machine ---") || !strings.Contains(block, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n") {
			t.Errorf("%s: no block, or several:\n%s", name, block)
		}
	}
}

func TestSlim(t *testing.T) {
	got := slim("#!/bin/sh\n# a\n\n# --- machine ---\nif x; then\n    # b\n    say '#' # c\nfi\n")
	if want := "# --- machine ---\nif x; then\nsay '#' # c\nfi\n"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestCall(t *testing.T) {
	in, err := call("observe", []value{{"run", "r"}, {"deny", "$(id) 'x' AOIFLEET-VALUES"}}, thenContinue)
	if err != nil {
		t.Fatal(err)
	}
	if want := "main 3<&0 <<'AOIFLEET-VALUES'; say end \"$?\"\nverb=observe\nrun=r\ndeny=$(id) 'x' AOIFLEET-VALUES\nend\nAOIFLEET-VALUES\n"; string(in) != want {
		t.Errorf("got %q", in)
	}
	for _, text := range []string{"a\nAOIFLEET-VALUES\nid\n", "a\rb", "a\x00b", "\n"} {
		in, err := call("observe", []value{{"owner", text}}, thenContinue)
		if p := AsProblem(err); err == nil || in != nil || p.Class != problem.Configuration || !strings.Contains(p.Message, "owner") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestEachVerbHasItsParts: what is sent for a verb defines every function that it calls.
func TestEachVerbHasItsParts(t *testing.T) {
	defined := regexp.MustCompile(`(?m)^([a-z_]+)\(\)`)
	functions := func(text string) map[string]bool {
		found := map[string]bool{}
		for _, m := range defined.FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		return found
	}
	all := functions(Script())
	called := func(text, name string) bool {
		return strings.Contains(text, name) && regexp.MustCompile(`(?m)(^|[;&|({!] *|then |else |do |\) |^ +)`+name+`($|[ ;)])`).MatchString(text)
	}
	// Only called with a package.
	upgrading := functions(part(packagePart) + part(upgradePart))
	diagnosing := map[string]bool{"gather": true, "diags_places": true, "copy_time": true, "sweep_work": true}
	for _, verb := range []string{"observe", "stage", "discard", "rotate", "prune", "examine", "latest", "recover", "diagnose", "rehearse", "inspect", "makefolder", "install", "upgrade", "versions", "fetch"} {
		text := scriptWithout(partsOfFew()...)
		for _, name := range onlyFor[verb] {
			text += part(name)
		}
		has, text := functions(text), slim(text)
		for name := range all {
			mayLack := !slices.Contains(onlyFor[verb], diagnosePart) && diagnosing[name] || upgrading[name] && verb != "upgrade" && verb != "recover" ||
				name == "confine" || onlyFor[name] != nil && name != verb
			if !has[name] && !mayLack && called(text, name) {
				t.Errorf("%s lacks %s", verb, name)
			}
		}
		if verb != "install" && !has[verb] {
			t.Errorf("%s is not defined", verb)
		}
	}
}
