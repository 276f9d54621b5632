package host

import (
	"embed"
	"fmt"
	"sort"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/problem"
)

//go:embed script/*.sh
var scriptParts embed.FS

// Script is host.sh as people read it: the parts of script/ joined in the
// order of their names.
func Script() string {
	entries, err := scriptParts.ReadDir("script")
	if err != nil {
		panic(err) // embedded: can't be missing
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		text, err := scriptParts.ReadFile("script/" + name)
		if err != nil {
			panic(err)
		}
		b.Write(text)
	}
	return b.String()
}

// sent is the script as it travels: without comments and indentation, because
// bash reads a script on a pipe byte by byte.
var sent = slim(Script())

// slim drops full-line comments, blank lines and indentation. The script keeps
// to what that allows (no here-document or string whose lines start with #);
// a test runs both forms. The two marker lines stay: the lab looks for them.
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

// ownText is what goes before a call of a verb that leaves a copy of the script on
// the host ($self). The text begins on a line of its own, as the lab looks for
// whole lines.
var ownText = knowing(sent)

func knowing(script string) []byte {
	return []byte("self=" + shellescape.Quote("\n"+script) + "\n")
}

// opening is what goes to `sh -s` first, before any call.
var opening = []byte(sent)

// ownProcess tells whether a verb has a process of its own, whose end is the call's:
// a helper takes one call, diagnose prints bytes that are no lines, and install
// carries another text. The others share a shell, and an `end` line tells.
func (v *VM) ownProcess(verb string) bool {
	return v.helper() || verb == "diagnose" || verb == "install"
}

// last tells whether a shell takes no call after this verb. The operator's word
// may come when nobody waits for it any more (the host has undone meanwhile, or
// the transaction was killed); a shell that went on would run it as root.
func last(verb string) bool { return verb == "rotate" }

// framed is a call as the process reads it.
func (v *VM) framed(verb string, values []value) ([]byte, error) {
	switch {
	case v.helper():
		return helperCall(verb, values)
	case v.ownProcess(verb):
		return call(verb, values, thenExit)
	case last(verb):
		return call(verb, values, thenEnd)
	}
	return call(verb, values, thenGoOn)
}

// helperCall is what goes to an installed helper, which has the script already:
// the values, and their length before them.
func helperCall(verb string, values []value) ([]byte, error) {
	lines, err := valueLines(verb, values)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%07d\n%s", len(lines), lines), nil
}

// ended is the key of the line that follows a call's last one where the shell
// goes on; its value is the exit status.
const ended = "end"

// What the shell does after a call.
const (
	thenGoOn = "say " + ended + ` "$?"`
	thenEnd  = thenGoOn + "; exit"
	thenExit = "exit"
)

// call is shell text that runs one verb; the shell does what then says when it
// has ended. Values come from a here-document and never become shell code: the
// delimiter is quoted, and no value can be it, because each line starts with a
// key. The operator, whose input the shell does not read ahead as long as the
// client waits for the end, is on file descriptor 3.
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
			return "", &problem.Error{Class: problem.Configuration, Message: fmt.Sprintf("%s holds a line break", v.key)}
		}
		b.WriteString(v.key + "=" + v.text + "\n")
	}
	b.WriteString("end\n")
	return b.String(), nil
}
