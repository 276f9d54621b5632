package configuration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

func edit(t *testing.T, data string, expressions ...string) (string, error) {
	t.Helper()
	e, err := ParseEdit(expressions...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Apply([]byte(data))
	return string(out), err
}

// changed returns the lines that a diff removes and adds.
func changed(diff string) []string {
	return slices.DeleteFunc(strings.Split(diff, "\n"), func(line string) bool {
		return !strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+++") || strings.HasPrefix(line, "---")
	})
}

// The file keeps its comments, its order, its blank lines and its indentation: only what the
// edit changes is different.
func TestEditChangesNothingElse(t *testing.T) {
	const odd = "# who\n\nagent_id:   a   # the name\n\npipelines:\n- id: p\n\n  sink: { container_name: c } # one\n- id: q\n\n# the end\n"
	for _, tt := range []struct {
		data, expression string
		want             []string
	}{
		{odd, `.agent_id = "b"`, []string{"-agent_id:   a   # the name", "+agent_id:   b   # the name"}},
		{odd, `.pipelines[1].sink.container_name = "d"`, []string{"+  sink:", "+    container_name: d"}},
		{odd, `del(.pipelines[0])`, []string{"-- id: p", "-", "-  sink: { container_name: c } # one"}},
		{odd, `.`, nil},
		{odd, `.agent_id |= .`, nil},
		{odd, `select(.agent_id == "a") | .agent_id = "a"`, nil},
		{sample(t, "sftp.yaml"), `(.pipelines[] | select(.source | has("sftp_pull")) | .sink.block_size) = "64 MiB"`, []string{"-      block_size: 32 MiB", "+      block_size: 64 MiB"}},
		{sample(t, "sftp.yaml"), `(.secret_providers[] | select(has("key_vault")) | .key_vault.service_principal.cert_path) = "/etc/new.p12"`, []string{"-        cert_path: /etc/az-aoi-ingestion/certificate.p12", "+        cert_path: /etc/new.p12"}},
		{strings.ReplaceAll(sample(t, "edr.yaml"), "\n", "\r\n"), `.agent_id = "b"`, []string{"-agent_id: paris-edr-01?", "+agent_id: b?"}},
	} {
		out, err := edit(t, tt.data, tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
		}
		diff := Diff("config.yaml", []byte(tt.data), []byte(out))
		if !slices.Equal(changed(diff), tt.want) {
			t.Errorf("%s:\n%s", tt.expression, diff)
		}
		if again, err := edit(t, out, tt.expression); !strings.HasPrefix(tt.expression, "del(") && (err != nil || again != out) {
			t.Errorf("%s: twice is not once: %v", tt.expression, err)
		}
	}
}

// What an expression yields is the whole configuration, or nothing is changed.
func TestEditYieldsTheConfiguration(t *testing.T) {
	for _, expression := range []string{".agent_id", ".pipelines", ".pipelines[0]", ".nothing", `"text"`, `select(.agent_id == "other")`, `.agent_id = "b" | .pipelines`, `error("no")`, `.pipelines.x = 1`} {
		if out, err := edit(t, sample(t, "edr.yaml"), expression); !isProblem(err, problem.Configuration) || out != "" {
			t.Errorf("%s: %q %v", expression, out, err)
		}
	}
	for _, data := range []string{"", "a: [", "- a", "a: b\n---\na: c", "a: &a [*a]", "server: text\n  host: a", strings.Repeat("a", MaxSize+1)} {
		if out, err := edit(t, data, `.agent_id = "b"`); !isProblem(err, problem.Configuration) || out != "" {
			t.Errorf("%.20q: %q %v", data, out, err)
		}
	}
}

func isProblem(err error, class problem.Class) bool {
	var p *problem.Error
	return errors.As(err, &p) && p.Class == class
}

// What reaches outside the file, or gives another result each time, is refused before it runs.
func TestEditRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("a: b"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, expression := range []string{
		`.a = env(HOME)`, `.a = strenv(HOME)`, `.a = ("$HOME" | envsubst)`, `.a = ("$HOME" | envsubst(nu))`, `.a = load("` + file + `")`, `.a = load_str("` + file + `")`, `.a = strload("` + file + `")`,
		`.a = load_base64("` + file + `")`, `.a = load_props("` + file + `")`, `.a = load_xml("` + file + `")`, `.a = system("id")`, `.a = system("id"; ["-u"])`,
		`.a = eval(.b)`, `.a = now`, `.a = filename`, `.a = file_index`, `.a |= shuffle`, `.a |= to_json`, `.a |= @base64`, `.a |= from_yaml`, `.a[] | split_doc`, `. as $x | (.b |= env(HOME))`, `with(.a; .b = env(HOME))`, `{"a": env(HOME)}`, `.[env(HOME)] = 1`, `.["a" + env(HOME)] = 2`,
		`.a = "\(env(HOME))"`, `.a = "x \(load("` + file + `"))"`, `.a = "\(eval(.b))"`, `.["\(now)"] = 1`, ``, `   `, `# comment`, `.a =`, `(`, strings.Repeat("(", 9000), "\x00",
	} {
		if e, err := ParseEdit(`.a = 1`, expression); e != nil || !isProblem(err, problem.Usage) {
			out, err := edit(t, "a: b\n", expression)
			t.Errorf("%.60s: %q %v", expression, out, err)
		}
	}
	if _, err := ParseEdit(); !isProblem(err, problem.Usage) {
		t.Error(err)
	}
	if out, err := edit(t, "a: b\n", `.a = $ENV.HOME`); err != nil || out != "a: b\n" { // a variable without a value
		t.Errorf("%q %v", out, err)
	}
}

// Several hosts are edited at the same time (run with -race).
func TestEditConcurrently(t *testing.T) {
	e, err := ParseEdit(`.agent_id = "b"`)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			if out, err := e.Apply([]byte("agent_id: a\n")); err != nil || string(out) != "agent_id: b\n" {
				t.Errorf("%q %v", out, err)
			}
			if _, err := ParseEdit(`.a.b[0] += {"c": "d"}`); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

func TestTemplate(t *testing.T) {
	host := Host{Name: "london-1", Address: "10.0.0.4", Labels: map[string]string{"site": "london"}}
	for text, want := range map[string]string{
		"agent_id: {{.Name}}\n": "agent_id: london-1\n", `{{if eq .Labels.site "london"}}a{{else}}b{{end}} {{.Address}}`: "a 10.0.0.4",
		"{{.Labels.none}}": "", "{{.Nothing}}": "", `{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`: "", `{{printf "%2000000d" 1}}`: "",
	} {
		parsed, err := ParseTemplate("conf/a.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out, err := parsed.Execute(host)
		if string(out) != want || want == "" && !isProblem(err, problem.Configuration) {
			t.Errorf("%s: %q %v", text, out, err)
		}
	}
	for _, text := range []string{"a\n{{", "{{.Name | nothing}}", strings.Repeat("a", MaxSize+1)} {
		if _, err := ParseTemplate("conf/a.yaml", []byte(text)); !isProblem(err, problem.Usage) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
}

// The judge is patch: the diff turns the old file into the new one.
func TestDiffIsApplied(t *testing.T) {
	old := sample(t, "sftp.yaml")
	for _, replace := range [][]string{{"london", "paris"}, {"\n", "\r\n"}, {"    cache_period: 1h\n", "    cache_period: 1h"}, {old, ""}, {"agent_id", "ünï"}} {
		new := strings.NewReplacer(replace...).Replace(old)
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		patch := exec.Command("patch", "-s", file)
		patch.Stdin = strings.NewReader(Diff("config.yaml", []byte(old), []byte(new)))
		out, err := patch.CombinedOutput()
		got, _ := os.ReadFile(file)
		if want := strings.ReplaceAll(new, "\r", "?"); err != nil || string(got) != want && new != "" {
			t.Errorf("%q: %v %s\n%q", replace, err, out, got)
		}
	}
	if diff := Diff("a", []byte(old), []byte(old)); diff != "" {
		t.Error(diff)
	}
}
