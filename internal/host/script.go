package host

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/problem"
)

//go:embed script/*.sh
var scriptParts embed.FS

// onlyFor are the parts of the script that few verbs need, by verb; they are sent before
// the first call of one. A rotation needs diagnostics only if it gathers them.
var onlyFor = map[string][]string{
	"examine": {"07-examine.sh"}, "diagnose": {diagnosePart}, "recover": {diagnosePart, packagePart, upgradePart}, "install": {"15-helper.sh"}, "rehearse": {"16-rehearse.sh"},
	"inspect": {"17-inspect.sh"}, "latest": {"18-latest.sh"}, "makefolder": {"19-folder.sh"}, "upgrade": {packagePart, upgradePart},
	"versions": {packagePart, fetchPart}, "fetch": {packagePart, fetchPart},
}

const (
	diagnosePart = "13-diagnose.sh"
	packagePart  = "20-package.sh"
	upgradePart  = "21-upgrade.sh"
	fetchPart    = "22-fetch.sh"
)

// partsOfFew returns all parts in onlyFor.
func partsOfFew() []string { return slices.Concat(slices.Collect(maps.Values(onlyFor))...) }

// Script returns host.sh in readable form: the parts of script/, joined in the order of
// their names.
func Script() string { return scriptWithout() }

// scriptWithout returns host.sh without some parts.
func scriptWithout(parts ...string) string {
	entries, err := scriptParts.ReadDir("script")
	if err != nil {
		panic(err) // embedded: always exists
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !slices.Contains(parts, e.Name()) {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString(part(name))
	}
	return b.String()
}

func part(name string) string {
	text, err := scriptParts.ReadFile("script/" + name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// slim removes full-line comments, blank lines and indentation. The script has no
// here-document or string with a line that starts with #, so this is safe; a test runs
// both forms. The two marker lines stay, because the lab needs them.
func slim(script string) string {
	var b strings.Builder
	for _, line := range strings.Split(script, "\n") {
		text := strings.TrimLeft(line, " ")
		if text == "" || strings.HasPrefix(text, "#") && !strings.HasPrefix(text, "# ---") {
			continue
		}
		b.WriteString(text)
		b.WriteByte('\n')
	}
	return b.String()
}

// value is one key=value line of the script's input.
type value struct{ key, text string }

// The lines around the block of the script that the lab replaces.
const (
	machineBegin = "# --- machine ---\n"
	machineEnd   = "# --- end machine ---\n"
)

// opening is sent to `sh -s` before the first call: what most verbs need. It is made when
// first needed: most commands contact no host, and quoting takes as long as their start.
var opening = sync.OnceValue(func() []byte {
	return openingOf(slim(scriptWithout(partsOfFew()...)))
})

// openingOf returns shell code that defines the script's functions, and has their text in
// $self for the copy that a transaction leaves on the host. The machine block comes first,
// as it is.
//
// bash reads a script on a pipe byte by byte, 75,000 system calls; head(1) reads the next
// lines at once. Other shells read ahead, so head would miss the beginning: they read the same
// lines as a script. If bash has no head, it does too. Only bash has the builtin shopt; the
// environment may hold any variable, also $BASH_VERSION and $self.
func openingOf(script string) []byte {
	_, rest, _ := strings.Cut(script, machineBegin)
	block, text, _ := strings.Cut(rest, machineEnd)
	return append([]byte(machineBegin+block+machineEnd+"self=\n"), defining(text)...)
}

// defining returns shell code that defines the functions of a text and adds it to $self.
func defining(text string) []byte {
	more := "more=" + shellescape.Quote(text) + "\n"
	return fmt.Appendf(nil, "! command -v shopt >/dev/null || eval \"$(head -c %d)\"\n%seval \"$more\"\nself=$self$more\n", len(more), more)
}

// readable assigns the script in readable form to $self, for install. The text starts on a
// line of its own, because the lab replaces whole lines.
var readable = sync.OnceValue(func() []byte { return []byte("self=" + shellescape.Quote("\n"+Script()) + "\n") })

// ownProcess reports whether a verb has a process of its own, which ends with the call: a
// helper accepts one call, diagnose prints binary data, and install sends another text.
// The other verbs share a shell, and an `end` line ends each call.
func (v *VM) ownProcess(verb string) bool {
	return v.helper() || verb == "diagnose" || verb == "install"
}

// last reports whether the shell exits after this verb. The operator's answer may arrive
// when the verb no longer waits for it (the host has undone the run, or the transaction
// was killed); a shell that continued would run it as root.
func last(verb string) bool { return verb == "rotate" || verb == "rehearse" || verb == "upgrade" }

// framed returns the bytes of a call.
func (v *VM) framed(verb string, values []value) ([]byte, error) {
	switch {
	case v.helper():
		return helperCall(verb, values)
	case v.ownProcess(verb):
		return call(verb, values, thenExit)
	case last(verb):
		return call(verb, values, thenEnd)
	}
	return call(verb, values, thenContinue)
}

// helperCall returns a call for an installed helper, which has the script: the length of
// the values, then the values.
func helperCall(verb string, values []value) ([]byte, error) {
	lines, err := valueLines(verb, values)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%07d\n%s", len(lines), lines), nil
}

// ended is the key of the line after a call in a shell that several calls share; its value
// is the exit status.
const ended = "end"

// What the shell does after a call.
const (
	thenContinue = "say " + ended + ` "$?"`
	thenEnd      = thenContinue + "; exit"
	thenExit     = "exit"
)

// call returns shell code that runs one verb, and then the code in then. The values are in
// a here-document and never become shell code: the delimiter is quoted, and no value can
// be equal to it, because each line starts with a key. The operator's answers are on file
// descriptor 3; the shell does not read them ahead, because the client waits for the end.
func call(verb string, values []value, then string) ([]byte, error) {
	lines, err := valueLines(verb, values)
	if err != nil {
		return nil, err
	}
	return []byte("main 3<&0 <<'AOIFLEET-VALUES'; " + then + "\n" + lines + "AOIFLEET-VALUES\n"), nil
}

func valueLines(verb string, values []value) (string, error) {
	var b strings.Builder
	for _, v := range append([]value{{"verb", verb}}, values...) {
		if strings.ContainsAny(v.text, "\n\r\x00") {
			return "", &problem.Error{Class: problem.Configuration, Message: fmt.Sprintf("%s contains a newline", v.key)}
		}
		b.WriteString(v.key + "=" + v.text + "\n")
	}
	b.WriteString("end\n")
	return b.String(), nil
}
