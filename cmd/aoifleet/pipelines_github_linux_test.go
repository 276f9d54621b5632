package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/lab"
)

// ghWorkflow is a workflow of GitHub Actions, as far as the examples use it.
type ghWorkflow struct {
	Name        string
	On          any
	Permissions map[string]string
	Concurrency string
	Env         map[string]string
	Jobs        map[string]ghJob
}

type ghJob struct {
	Needs          string
	If             string
	RunsOn         []string `yaml:"runs-on"`
	Environment    string
	Permissions    map[string]string
	TimeoutMinutes int `yaml:"timeout-minutes"`
	Env, Outputs   map[string]string
	Steps          []ghStep
}

type ghStep struct {
	Name, ID, If, Uses, Run, Shell string
	With, Env                      map[string]string
}

// ghAction is a composite action.
type ghAction struct {
	Name, Description string
	Inputs            map[string]struct {
		Description, Default string
		Required             bool
	}
	Outputs map[string]struct{ Description, Value string }
	Runs    struct {
		Using string
		Steps []ghStep
	}
}

// ghRun is a job, or an action in a job, that is run: its names are those of expressions.
type ghRun struct {
	*job
	names map[string]string
	path  string // that GITHUB_PATH adds
}

var ghExpression = regexp.MustCompile(`\$\{\{\s*(.*?)\s*\}\}`)

// expand replaces the expressions in a text, each of which is a name.
func (r *ghRun) expand(text string) string {
	return ghExpression.ReplaceAllStringFunc(text, func(e string) string { return r.value(ghExpression.FindStringSubmatch(e)[1]) })
}

func (r *ghRun) value(name string) string {
	value, known := r.names[name]
	if !known && !strings.HasPrefix(name, "steps.") && !strings.HasPrefix(name, "needs.") { // these are empty if they did not run
		r.t.Fatalf("the expression %s has no value", name)
	}
	return value
}

func (r *ghRun) expanded(vars map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range vars {
		out[name] = r.expand(value)
	}
	return out
}

// holds evaluates a condition; failed is whether an earlier step or a needed job failed.
func (r *ghRun) holds(condition string, failed bool) bool {
	switch left, right, equal := strings.Cut(condition, " == "); {
	case condition == "always()":
		return true
	case equal:
		return !failed && r.value(left) == strings.Trim(right, "'")
	case condition != "":
		r.t.Fatalf("unknown condition %s", condition)
	}
	return !failed
}

// steps runs steps and returns the first exit code that is not 0.
func (r *ghRun) steps(list []ghStep) (code int) {
	for _, s := range list {
		if !r.holds(s.If, code != 0) {
			continue
		}
		result := r.step(s)
		if code == 0 {
			code = result
		}
	}
	return code
}

func (r *ghRun) step(s ghStep) int {
	action, _, _ := strings.Cut(s.Uses, "@")
	with := r.expanded(s.With)
	switch action {
	case "":
		return r.script(s)
	case "actions/checkout":
		return 0
	case "actions/upload-artifact":
		r.upload(with["name"], with["path"])
		return 0
	case "actions/download-artifact":
		r.download(with["name"], filepath.Join(r.dir, with["path"]))
		return 0
	case "aoifleet/aoifleet":
		return r.composite(s, with)
	}
	r.t.Fatalf("unknown action %s", s.Uses)
	return 1
}

// script runs a script as the runner does: bash is named in a composite action only.
func (r *ghRun) script(s ghStep) int {
	if ghExpression.MatchString(s.Run) {
		r.t.Errorf("%s: an expression in a script becomes a part of it", s.Name)
	}
	flags := []string{"-e"}
	if s.Shell == "bash" {
		flags = []string{"--noprofile", "--norc", "-eo", "pipefail"}
	}
	env := r.expanded(s.Env)
	for _, file := range []string{"OUTPUT", "PATH", "STEP_SUMMARY"} {
		env["GITHUB_"+file] = filepath.Join(r.temp, file)
		r.write(env["GITHUB_"+file], "")
	}
	maps.Copy(env, map[string]string{"GITHUB_ACTIONS": "true", "RUNNER_TEMP": r.temp})
	before := r.log.Len()
	code := r.run(s.Run, env, flags...)
	log := r.log.String()[before:]
	checkCommands(r.t, log, `::`, `::(error|warning) title=.*::.*|::(group::.*|endgroup::)`)
	for line := range strings.Lines(r.read(env["GITHUB_OUTPUT"])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		r.names["steps."+s.ID+".outputs."+name] = value
	}
	if strings.Contains(s.Run, "aoifleet plan") || strings.Contains(s.Run, "aoifleet rotate") {
		if !strings.Contains(r.read(env["GITHUB_STEP_SUMMARY"]), "host") {
			r.t.Errorf("%s: the summary is %q", s.Name, r.read(env["GITHUB_STEP_SUMMARY"]))
		}
	}
	r.path += strings.TrimSpace(r.read(env["GITHUB_PATH"]))
	return code
}

// composite runs action.yml.
func (r *ghRun) composite(s ghStep, with map[string]string) int {
	var action ghAction
	decode(r.t, "../../action.yml", &action)
	root, err := filepath.Abs("../..")
	if err != nil {
		r.t.Fatal(err)
	}
	own := &ghRun{job: r.job, names: map[string]string{"github.action_path": root}}
	for name, input := range action.Inputs {
		value, given := with[name]
		if input.Required && !given {
			r.t.Errorf("the action needs %s", name)
		}
		if !given {
			value = input.Default
		}
		own.names["inputs."+name] = value
	}
	for name := range with {
		if _, known := action.Inputs[name]; !known {
			r.t.Errorf("the action has no input %s", name)
		}
	}
	code := own.steps(action.Runs.Steps)
	for name, output := range action.Outputs {
		r.names["steps."+s.ID+".outputs."+name] = own.expand(output.Value)
	}
	return code
}

// runGitHub runs a workflow: its jobs one after the other, as their needs allow.
func runGitHub(l *pipelineLab, file, event string) ended {
	var w ghWorkflow
	decode(l.t, file, &w)
	result := ended{map[string]int{}, map[string]string{}}
	names := map[string]string{"vars.AZURE_TENANT_ID": lab.TenantID, "vars.AZURE_CLIENT_ID": labOperatorID, "vars.AGENTS_CLIENT_ID": lab.ClientID,
		"secrets.DEPLOY_KEY": l.key, "inputs.limit": "*", "github.event_name": event}
	order := slices.SortedFunc(maps.Keys(w.Jobs), func(a, b string) int { return len(w.Jobs[a].Needs) - len(w.Jobs[b].Needs) })
	for _, name := range order {
		j := w.Jobs[name]
		code, ran := result.codes[j.Needs]
		r := &ghRun{job: l.job(nil), names: maps.Clone(names)}
		r.names["github.workspace"] = r.dir
		if j.Needs != "" && !ran || !r.holds(j.If, code != 0) {
			continue
		}
		r.env = r.expanded(w.Env)
		maps.Copy(r.env, r.expanded(j.Env))
		result.codes[name] = r.steps(j.Steps)
		r.forgets()
		result.logs[name] = r.log.String()
		for output, value := range j.Outputs {
			names["needs."+name+".outputs."+output] = r.expand(value)
		}
	}
	return result
}

// checkCommands checks that each line which a system may take for a command is one that is meant.
func checkCommands(t *testing.T, log, sign, meant string) {
	t.Helper()
	pattern := regexp.MustCompile("^(" + meant + ")$")
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if (strings.HasPrefix(line, "::") || strings.Contains(line, "##[") || strings.Contains(line, "##vso[")) && !pattern.MatchString(line) {
			t.Errorf("the log has a command (%s): %q", sign, line)
		}
	}
}

// The action installs the named file only, takes no input for an option of curl, and does not
// succeed without a command.
func TestActionInputs(t *testing.T) {
	t.Parallel()
	const program = "#!/bin/sh\n"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, program) }))
	defer server.Close()
	var action ghAction
	decode(t, "../../action.yml", &action)
	sum := sha256.Sum256([]byte(program))
	digest := hex.EncodeToString(sum[:])
	for name, tt := range map[string]struct {
		step          int
		release, hash string
		installed     bool
	}{
		"right":      {0, server.URL + "/aoifleet", digest, true},
		"wrong":      {0, server.URL + "/aoifleet", strings.Repeat("0", 64), false},
		"no digest":  {0, server.URL + "/aoifleet", "", false},
		"no https":   {0, strings.Replace(server.URL, "https", "http", 1), digest, false},
		"an option":  {0, "-Kcurlrc", digest, false},
		"no command": {step: 1},
	} {
		l := &pipelineLab{t: t}
		j := &job{pipelineLab: l, dir: t.TempDir(), temp: t.TempDir()}
		l.write(filepath.Join(j.dir, "curlrc"), "url="+server.URL+"\noutput=elsewhere\n")
		l.write(filepath.Join(j.temp, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
		l.write(filepath.Join(j.temp, "path"), "")
		code := j.run(action.Runs.Steps[tt.step].Run, map[string]string{"CURL_CA_BUNDLE": filepath.Join(j.temp, "ca.pem"), "RUNNER_TEMP": j.temp, "GITHUB_PATH": filepath.Join(j.temp, "path"),
			"GITHUB_OUTPUT": filepath.Join(j.temp, "output"), "RELEASE": tt.release, "SHA256": tt.hash, "COMMAND": " ", "LIMIT": "", "ARGS": "", "ACCEPT": ""}, "--noprofile", "--norc", "-eo", "pipefail")
		_, err := os.Stat(filepath.Join(j.temp, "aoifleet-bin", "aoifleet"))
		if (code == 0) != tt.installed || (err == nil) != tt.installed || (l.read(filepath.Join(j.temp, "path")) != "") != tt.installed {
			t.Errorf("%s: exit code %d, %v\n%s", name, code, err, j.log.String())
		}
		if _, err := os.Stat(filepath.Join(j.dir, "elsewhere")); err == nil {
			t.Errorf("%s: curl wrote where an input says", name)
		}
	}
}
