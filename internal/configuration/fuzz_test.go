package configuration

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aoifleet/aoifleet/test/fuzz"
)

// seeds adds files that are right and wrong.
func seeds(f *testing.F) {
	for _, name := range []string{"sftp.yaml", "edr.yaml", "flat.yaml"} {
		f.Add([]byte(sample(f, name)), []byte(sample(f, "edr.yaml")))
	}
	for _, text := range []string{"", "a: [", "[1]: 2\n<<: {a: 1}\n", "a: &a [*a]", "a: &a {b: 1}\nc: {<<: *a}\n", "server: text\n  host: a\n", "agent_id: \x1b[31m", "a: 'b", "agent_id: a\n---\nagent_id: b", "? [a]\n: b\n", "a: !!binary x\n"} {
		f.Add([]byte(text), []byte(text))
	}
}

// FuzzLint: findings are bounded, each is one printable line, and no file panics or takes long.
func FuzzLint(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data, other []byte) {
		var found []Finding
		fuzz.Bounded(t, 1<<20+20_000*(len(data)+len(other)), func() {
			found = append(append(Lint(data), Dangers(data, other)...), Fleet([]Named{{"a", data}, {"b", other}})...)
		})
		if len(found) > 3*maxFindings {
			t.Errorf("%d findings", len(found))
		}
		for _, finding := range found {
			if finding.Message == "" || finding.Level == "" || finding.Line < 0 || finding.Line > strings.Count(string(data)+string(other), "\n")+2 {
				t.Errorf("%+v", finding)
			}
			fuzz.Line(t, finding.Key, 1000)
			fuzz.Line(t, finding.Message, 1000)
			fuzz.Line(t, finding.Hint, 1000)
		}
	})
}

// FuzzEdit: an edit that is accepted is applied to any file, without a panic, to an error or to
// a whole configuration; twice is once.
func FuzzEdit(f *testing.F) {
	for _, expression := range []string{`.agent_id = "b"`, `.pipelines[0].sink.block_size = "64MiB"`, `del(.pipelines[0])`, `.`} {
		f.Add([]byte(sample(f, "edr.yaml")), expression)
	}
	f.Add([]byte("a: &a [1]\nb: *a\n"), `.pipelines[] |= .`)
	f.Fuzz(func(t *testing.T, data []byte, expression string) {
		if _, err := ParseEdit(expression); err != nil {
			fuzz.Problem(t, err, 1000)
		}
		e, err := ParseEdit(`.agent_id = "b"`, `del(.x)`) // the expression is the operator's, the file is not
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Apply(data)
		if err != nil {
			fuzz.Problem(t, err, 1000)
			return
		}
		if again, err := e.Apply(out); err != nil || string(again) != string(out) {
			t.Errorf("%q becomes %q, then %q, %v", data, out, again, err)
		}
	})
}

// FuzzTemplate: a template is an error or yields a bounded file.
func FuzzTemplate(f *testing.F) {
	f.Add("agent_id: {{.Name}}", "a")
	f.Add(`{{range $k, $v := .Labels}}{{$k}}{{end}}{{template "x"}}`, "\x00")
	f.Fuzz(func(t *testing.T, text, label string) {
		parsed, err := ParseTemplate("conf/a.yaml", []byte(text))
		if err != nil {
			fuzz.Problem(t, err, 1000)
			return
		}
		out, err := parsed.Execute(Host{Name: label, Labels: map[string]string{label: label}})
		if err != nil {
			fuzz.Problem(t, err, 1000)
		}
		if len(out) > MaxSize {
			t.Error(len(out))
		}
	})
}

// FuzzDiff: a diff is safe to print, bounded, and empty only if the files are equal.
func FuzzDiff(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, old, new []byte) {
		var diff string
		fuzz.Bounded(t, 1<<20+20_000*(len(old)+len(new)), func() { diff = Diff("a", old, new) })
		if len(diff) > maxDiff || !utf8.ValidString(diff) || strings.ContainsFunc(diff, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Errorf("%q", diff)
		}
		if same := string(old) == string(new); same != (diff == "") {
			t.Errorf("%v %q", same, diff)
		}
	})
}
