package ci

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
)

// githubCommand returns the command that GitHub's runner finds in a line, and its data, as
// ActionCommand.TryParseV2 and TryParse of actions/runner do. "": it finds none.
func githubCommand(line string) (name, data string) {
	trimmed := strings.TrimLeftFunc(line, unicode.IsSpace)
	if rest, ok := strings.CutPrefix(trimmed, "::"); ok {
		if info, data, ok := strings.Cut(rest, "::"); ok {
			name, _, _ := strings.Cut(info, " ")
			return name, unescaped(data, "%0D", "\r", "%0A", "\n", "%25", "%")
		}
	}
	if _, rest, ok := strings.Cut(line, "##["); ok {
		if info, data, ok := strings.Cut(rest, "]"); ok {
			name, _, _ := strings.Cut(info, " ")
			return name, data
		}
	}
	return "", ""
}

// azureCommand does the same as Command.TryParse of azure-pipelines-agent.
func azureCommand(line string) (name, data string) {
	if _, rest, ok := strings.Cut(line, "##vso["); ok {
		if info, data, ok := strings.Cut(rest, "]"); ok {
			name, _, _ := strings.Cut(info, " ")
			return name, unescaped(data, "%0D", "\r", "%0A", "\n", "%3B", ";", "%5D", "]", "%AZP25", "%")
		}
	}
	return "", ""
}

func unescaped(text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// gitlabSection is Gitlab::Regex.build_trace_section_regex.
var gitlabSection = regexp.MustCompile(`section_(start|end):\d+:[a-zA-Z0-9_.-]+(\[.*\])?\r\x1b\[0K`)

// commands returns the commands that the systems find in a text. Their programs compare text by
// the rules of a language, for which some characters count for nothing: so they are removed too.
func commands(text string) (found []string) {
	ignored := func(r rune) rune {
		if r > '~' || r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			return -1
		}
		return r
	}
	for _, text := range []string{text, strings.Map(ignored, text)} {
		for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
			for _, parse := range []func(string) (string, string){githubCommand, azureCommand} {
				if name, _ := parse(line); name != "" {
					found = append(found, name)
				}
			}
			if strings.Contains(line, "##[") || strings.Contains(line, "##vso") { // formatted, or a warning
				found = append(found, line)
			}
		}
	}
	return found
}

var hostile = []string{
	"::set-output name=x::y", "  \t::add-mask::ERROR", "::stop-commands::token", "::error title=x::y", "::group::x",
	"text ##[set-env name=PATH]/tmp", "##[add-path]/tmp", "##[group]x", "###[group]x",
	"2026-01-01 ERROR ##vso[task.setvariable variable=PATH]/tmp", "##vso[task.uploadfile]/etc/passwd", "####vso[task.debug]x",
	"\u034f::add-mask::x", "\ufeff  ::add-mask::x", "#\ufe0f#vso[task.debug]x", "##\u200dvso[task.debug]x", "a\r::add-mask::x", "\x1b[31m::debug::x\n\n::debug::y",
	":\u200b:add-mask::x", "#\x00#[debug]x", "\u2028::debug::x",
}

// Nothing that a host says is a command, however it is divided into writes.
func TestGuard(t *testing.T) {
	for _, line := range hostile {
		if len(commands(line)) == 0 {
			t.Errorf("%q is no command at all", line)
		}
		for size := 1; size <= len(line); size++ {
			var out strings.Builder
			g := &Guard{W: &out}
			g.Watch(true, false)
			for rest := "begin\n" + line + "\nend\n"; rest != ""; {
				n, err := g.Write([]byte(rest[:min(size, len(rest))]))
				if err != nil || n != min(size, len(rest)) {
					t.Fatal(n, err)
				}
				rest = rest[n:]
			}
			if found := commands(out.String()); found != nil {
				t.Errorf("%q became %q, which has %q", line, out.String(), found)
			}
			if without := strings.ReplaceAll(out.String(), " ", ""); without != strings.ReplaceAll("begin\n"+line+"\nend\n", " ", "") {
				t.Errorf("%q became %q", line, out.String())
			}
		}
	}
}

// JSON keeps its meaning, and other text and other systems their bytes.
func TestGuardKeepsTheMeaning(t *testing.T) {
	var out strings.Builder
	g := &Guard{W: &out}
	g.Watch(true, true)
	document := map[string][]string{"evidence": append(hostile, `a\##[debug]`, "####", "# #")}
	enc := json.NewEncoder(g)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		t.Fatal(err)
	}
	if found := commands(out.String()); found != nil {
		t.Errorf("the document has %q", found)
	}
	var back map[string][]string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil {
		t.Fatal(err)
	}
	for i, want := range document["evidence"] {
		if got := back["evidence"][i]; got != want {
			t.Errorf("%q became %q", want, got)
		}
	}
	out.Reset()
	g.Watch(false, false)
	text := strings.Join(hostile, "\n")
	if _, _ = g.Write([]byte(text)); out.String() != text {
		t.Errorf("without a system %q became %q", text, out.String())
	}
	out.Reset()
	g.Watch(true, false)
	const harmless = "duration: 8s\n  10.0.0.1:22: refused\nSHA256:abc [fe80::1]:22 a::b\n# one #\n: a\n"
	if _, _ = g.Write([]byte(harmless)); out.String() != harmless {
		t.Errorf("%q became %q", harmless, out.String())
	}
}

func FuzzGuard(f *testing.F) {
	for _, line := range hostile {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if found := commands(neutral(text)); found != nil {
			t.Errorf("%q became %q, which has %q", text, neutral(text), found)
		}
	})
}

// An annotation is one command with the text that was meant, whatever the text is.
func TestAnnotation(t *testing.T) {
	const title, text = "failed: a:1, b;2 100%25 ]::", "50%0A of it\nsecond ##vso[task.debug]x; [y]\r, ::debug::z %AZP25"
	for system, parse := range map[System]func(string) (string, string){GitHub: githubCommand, Azure: azureCommand} {
		line := system.Annotation(Error, title, text)
		name, data := parse(line)
		want := map[System]string{GitHub: "error", Azure: "task.logissue"}[system]
		if name != want || strings.ContainsAny(line, "\r\n") {
			t.Errorf("%s: %q is %q", system, line, name)
		}
		if !strings.HasSuffix(strings.ReplaceAll(data, "# #", "##"), text) {
			t.Errorf("%s: %q says %q", system, line, data)
		}
	}
	if got := GitHub.Annotation(Warning, title, "x"); got != "::warning title=failed%3A a%3A1%2C b;2 100%2525 ]%3A%3A::x" {
		t.Error(got)
	}
	if got := Azure.Annotation(Warning, "a;b]", "50%"); got != "##vso[task.logissue type=warning]a;b]: 50%AZP25" {
		t.Error(got)
	}
	if got := GitLab.Annotation(Error, title, text) + None.Annotation(Error, title, text); got != "" {
		t.Error(got)
	}
}

func TestGroup(t *testing.T) {
	at := time.Unix(1700000000, 0)
	for system, want := range map[System][2]string{
		GitHub: {"::group::wave 1 of 2 %25", "::endgroup::"},
		Azure:  {"##[group]wave 1 of 2 %", "##[endgroup]"},
		GitLab: {"section_start:1700000000:name\r\x1b[0Kwave 1 of 2 %", "section_end:1700000002:name\r\x1b[0K"},
		None:   {},
	} {
		begin, end := system.Group("name", "wave 1\nof 2 %", at)
		if got := [2]string{begin, end(at.Add(2 * time.Second))}; got != want {
			t.Errorf("%s: %q", system, got)
		}
	}
	if begin, _ := GitLab.Group("name", "x", at); !gitlabSection.MatchString(begin) {
		t.Errorf("%q is no section", begin)
	}
}

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        System
	}{{"GITHUB_ACTIONS", "true", GitHub}, {"TF_BUILD", "True", Azure}, {"GITLAB_CI", "true", GitLab}, {"CI", "true", None}, {"TF_BUILD", "", None}, {"GITLAB_CI", "false", None}} {
		got := Detect(func(name string) string {
			if name == tt.name {
				return tt.value
			}
			return ""
		})
		if got != tt.want {
			t.Errorf("%s=%s is %s", tt.name, tt.value, got)
		}
	}
}

func TestSummary(t *testing.T) {
	dir := t.TempDir()
	getenv := func(name string) string {
		return map[string]string{"GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"), "AGENT_TEMPDIRECTORY": dir}[name]
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := os.WriteFile(filepath.Join(dir, "summary"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"# first", "# second"} {
		if line, err := GitHub.Summary(getenv, "RUN", text); err != nil || line != "" {
			t.Error(line, err)
		}
	}
	if got := read("summary"); got != "# first\n# second\n" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("a line of the summary\n", maxSummary/20)
	if _, err := GitHub.Summary(getenv, "RUN", long); err != nil {
		t.Fatal(err)
	}
	whole := read("summary")
	if len(whole) > maxSummary || !strings.HasSuffix(whole, "summary\n"+cutNote) {
		t.Errorf("%d bytes, ends with %q", len(whole), whole[len(whole)-len(cutNote)-20:])
	}
	if _, err := GitHub.Summary(getenv, "RUN", long); err != nil || len(read("summary")) > maxSummary {
		t.Errorf("%v, %d bytes", err, len(read("summary")))
	}
	line, err := Azure.Summary(getenv, "RUN", "# text")
	name, path := azureCommand(line)
	if err != nil || name != "task.uploadsummary" || path != filepath.Join(dir, "aoifleet-RUN.md") || read("aoifleet-RUN.md") != "# text" {
		t.Errorf("%q, %v", line, err)
	}
	if line, err := GitHub.Summary(func(string) string { return dir }, "RUN", "x"); err == nil {
		t.Errorf("a directory is a summary: %q", line)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := exec.Command("mkfifo", pipe).Run(); err == nil { // no one reads it: to open it would wait forever
		if line, err := GitHub.Summary(func(string) string { return pipe }, "RUN", "x"); err == nil {
			t.Errorf("a pipe is a summary: %q", line)
		}
	}
	for _, system := range []System{GitHub, Azure, GitLab, None} {
		if line, err := system.Summary(func(string) string { return "" }, "RUN", "x"); line != "" || err != nil {
			t.Errorf("%s: %q, %v", system, line, err)
		}
	}
}
