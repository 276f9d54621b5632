package host

import (
	"embed"
	"fmt"
	"sort"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

//go:embed script/*.sh
var parts embed.FS

// Script is host.sh as people read it: the parts of script/ joined in the
// order of their names.
func Script() string {
	entries, err := parts.ReadDir("script")
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
		text, err := parts.ReadFile("script/" + name)
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

// carrying is the script in a form that knows its own text ($self), for the
// verb that leaves a copy of it on the host. The text begins on a line of its
// own, as the lab looks for whole lines.
func carrying(script string) string {
	return "self=" + shellescape.Quote("\n"+script) + "\neval \"$self\"\n"
}

// input is what goes to root: the script, then a call of main whose values come
// from a here-document and whose operator is on file descriptor 3. Values never
// become shell code: the delimiter is quoted, and no value can be it, because
// each line starts with a key.
func (v *VM) input(verb string, values []value) ([]byte, error) {
	if v.helper() {
		return helperInput(verb, values)
	}
	return inputOf(sent, verb, values)
}

// helperInput is what goes to an installed helper, which has the script already:
// the same lines, and their length before them.
func helperInput(verb string, values []value) ([]byte, error) {
	lines, err := valueLines(verb, values)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%07d\n%s", len(lines), lines), nil
}

func inputOf(script, verb string, values []value) ([]byte, error) {
	switch verb {
	case "rotate":
		script = carrying(script)
	case "install":
		script = carrying(Script()) // to be read by people there
	}
	lines, err := valueLines(verb, values)
	if err != nil {
		return nil, err
	}
	return []byte(script + "main 3<&0 <<'AOIFLEET-VALUES'\n" + lines + "AOIFLEET-VALUES\n"), nil
}

func valueLines(verb string, values []value) (string, error) {
	var b strings.Builder
	for _, v := range append([]value{{"verb", verb}}, values...) {
		if strings.ContainsAny(v.text, "\n\r\x00") {
			return "", &Problem{Class: "configuration", Message: fmt.Sprintf("%s holds a line break", v.key)}
		}
		b.WriteString(v.key + "=" + v.text + "\n")
	}
	b.WriteString("end\n")
	return b.String(), nil
}
