package configuration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const small = `# who
agent_id: london-1   # the name

pipelines:
- id: p   # not indented

  sink: {container_name: c}
`

func edit(t *testing.T, data string, expressions ...string) (string, error) {
	t.Helper()
	e, err := ParseEdit(expressions...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Apply([]byte(data))
	return string(out), err
}

// The file keeps its comments, order and blank lines: only what the edit changes is different.
func TestEdit(t *testing.T) {
	out, err := edit(t, small, `.agent_id = "x"`, `.pipelines[0].sink.block_size = "64MiB"`)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out, Diff("config.yaml", []byte(small), []byte(out)))
}

// What reaches outside the file, or gives another result each time, is refused before it runs.
func TestEditRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("a: b"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, expression := range []string{
		`.a = env(HOME)`, `.a = strenv(HOME)`, `.a = ("$HOME" | envsubst)`, `.a = load("` + file + `")`, `.a = load_str("` + file + `")`,
		`.a = load_base64("` + file + `")`, `.a = load_props("` + file + `")`, `.a = load_xml("` + file + `")`, `.a = system("id")`, `.a = system("id"; ["-u"])`,
		`.a = eval(.b)`, `.a = now`, `.a = filename`, `.a |= shuffle`, `.a[] | split_doc`, `. as $x | (.b |= env(HOME))`, `with(.a; .b = env(HOME))`, `{"a": env(HOME)}`, `.[env(HOME)] = 1`, `.["a" + env(HOME)] = 2`, ``, `.a =`, `(`, strings.Repeat("(", 9000),
	} {
		e, err := ParseEdit(expression)
		var p *problem.Error
		if e != nil || !errors.As(err, &p) || p.Class != problem.Usage {
			t.Errorf("%.60s: %v", expression, err)
		}
	}
}
