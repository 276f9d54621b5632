package main

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/lab"
)

// azPipeline is a pipeline of Azure DevOps, as far as the examples use it.
type azPipeline struct {
	Trigger    string
	Parameters []struct{ Name, Type, Default string }
	Schedules  []struct {
		Cron     string
		Branches map[string][]string
		Always   bool
	}
	Pool      string
	Variables map[string]string
	Stages    []azStage
	Jobs      []azJob
}

type azStage struct {
	Stage     string
	DependsOn string `yaml:"dependsOn"`
	Condition string
	Jobs      []azJob
}

type azJob struct {
	Job, Deployment, Environment string
	TimeoutInMinutes             int `yaml:"timeoutInMinutes"`
	CancelTimeoutInMinutes       int `yaml:"cancelTimeoutInMinutes"`
	Variables                    map[string]string
	Steps                        []azStep
	Strategy                     struct {
		RunOnce struct{ Deploy struct{ Steps []azStep } } `yaml:"runOnce"`
	}
}

type azStep struct {
	Checkout, Task, Name, Bash, Publish, Artifact, Download, Condition string
	Inputs, Env                                                        map[string]string
}

// azRun is a job that is run. Its names are those of variables.
type azRun struct {
	*job
	names map[string]string
}

var (
	azMacro   = regexp.MustCompile(`\$\(([A-Za-z.]+)\)`)
	azEqual   = regexp.MustCompile(`eq\((?:variables|dependencies\.plan\.outputs)\['([A-Za-z.]+)'\], '(\d+)'\)`)
	azOutput  = regexp.MustCompile(`^\$\[stageDependencies\.plan\.plan\.outputs\['([A-Za-z.]+)'\]\]$`)
	azCommand = regexp.MustCompile(`##vso\[task\.(\w+) ?([^\]]*)\](.*)`)
)

// expand replaces macros; an unknown one stays, as in Azure Pipelines, and is an error here.
func (r *azRun) expand(text string) string {
	text = strings.ReplaceAll(text, "${{ parameters.limit }}", "*")
	return azMacro.ReplaceAllStringFunc(text, func(macro string) string {
		value, known := r.names[azMacro.FindStringSubmatch(macro)[1]]
		if !known {
			r.t.Errorf("%s has no value", macro)
		}
		return value
	})
}

func (r *azRun) expanded(vars map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range vars {
		out[name] = r.expand(value)
	}
	return out
}

func (r *azRun) holds(condition string, failed bool) bool {
	equal := azEqual.FindStringSubmatch(condition)
	switch {
	case condition == "always()":
		return true
	case equal != nil:
		return r.names[strings.TrimPrefix(equal[1], "plan.plan.")] == equal[2] || r.names["plan."+strings.TrimPrefix(equal[1], "plan.plan.")] == equal[2]
	case condition != "":
		r.t.Fatalf("unknown condition %s", condition)
	}
	return !failed
}

func (r *azRun) step(s azStep) int {
	switch {
	case s.Checkout == "self":
	case s.Bash != "":
		return r.run(s.Bash, nil)
	case s.Publish != "":
		r.upload(s.Artifact, r.expand(s.Publish))
	case s.Download == "current":
		r.download(s.Artifact, filepath.Join(r.names["Pipeline.Workspace"], s.Artifact))
	case s.Task == "DownloadSecureFile@1":
		path := filepath.Join(r.temp, s.Inputs["secureFile"])
		r.write(path, r.key)
		r.names[s.Name+".secureFilePath"] = path
	case s.Task == "AzureCLI@2" && s.Inputs["scriptType"] == "bash" && s.Inputs["scriptLocation"] == "inlineScript":
		return r.script(s)
	default:
		r.t.Fatalf("unknown step %+v", s)
	}
	return 0
}

// script runs a script as the task does, without -e, and obeys its commands as the agent does.
func (r *azRun) script(s azStep) int {
	if strings.Contains(s.Inputs["inlineScript"], "$(") && azMacro.MatchString(s.Inputs["inlineScript"]) || strings.Contains(s.Inputs["inlineScript"], "${{") {
		r.t.Errorf("%s: a macro in a script becomes a part of it", s.Name)
	}
	env := r.expanded(s.Env)
	maps.Copy(env, map[string]string{"TF_BUILD": "True", "AGENT_TEMPDIRECTORY": r.temp, "AZURE_TENANT_ID": lab.TenantID, "AZURE_CLIENT_ID": labOperatorID})
	before, summaries := r.log.Len(), 0
	code := r.run(s.Inputs["inlineScript"], env)
	log := r.log.String()[before:]
	checkCommands(r.t, log, "##vso", `##vso\[task\.(logissue type=(error|warning)|setvariable variable=(exitCode|planId);isOutput=true|complete result=SucceededWithIssues|uploadsummary)\].*|##\[(group\].*|endgroup\])`)
	for _, m := range azCommand.FindAllStringSubmatch(log, -1) {
		switch m[1] {
		case "setvariable":
			name, _, _ := strings.Cut(strings.TrimPrefix(m[2], "variable="), ";")
			r.names[s.Name+"."+name] = m[3]
		case "uploadsummary":
			summaries++
			if !strings.Contains(r.read(m[3]), "host") {
				r.t.Errorf("the summary is %q", r.read(m[3]))
			}
		}
	}
	if regexp.MustCompile("aoifleet (plan|rotate|renew)").MatchString(s.Inputs["inlineScript"]) && summaries != 1 {
		r.t.Errorf("%s: %d summaries", s.Name, summaries)
	}
	return code
}

// runAzurePipeline runs the stages, or the jobs, one after the other.
func runAzurePipeline(l *pipelineLab, file, _ string) ended {
	var p azPipeline
	decode(l.t, file, &p)
	result := ended{map[string]int{}, map[string]string{}}
	if p.Stages == nil {
		p.Stages = []azStage{{Jobs: p.Jobs}}
	}
	names, code := map[string]string{"System.AccessToken": "token", "agentsClientId": lab.ClientID}, 0
	for _, stage := range p.Stages {
		r := &azRun{job: l.job(nil), names: names}
		if strings.HasPrefix(stage.Condition, "and(succeeded(), ") && code != 0 || stage.Condition != "" && !r.holds(strings.TrimSuffix(strings.TrimPrefix(stage.Condition, "and(succeeded(), "), ")")+")", code != 0) {
			continue
		}
		for _, j := range stage.Jobs {
			maps.Copy(names, map[string]string{"Build.ArtifactStagingDirectory": filepath.Join(r.temp, "a"), "Pipeline.Workspace": filepath.Join(r.temp, "w")})
			r.env = r.expanded(p.Variables)
			for name, value := range j.Variables {
				names[name] = names[azOutput.FindStringSubmatch(value)[1]]
			}
			job := j.Job + j.Deployment
			result.codes[job] = 0
			for _, s := range append(j.Steps, j.Strategy.RunOnce.Deploy.Steps...) {
				if !r.holds(s.Condition, result.codes[job] != 0) {
					continue
				}
				if c := r.step(s); result.codes[job] == 0 {
					result.codes[job] = c
				}
			}
			r.forgets()
			result.logs[job] = r.log.String()
			code = max(code, result.codes[job])
		}
	}
	return result
}

// glJob is a job of GitLab CI/CD, as far as the example uses it.
type glJob struct {
	Extends      string
	Stage        string
	Needs        []string
	Rules        []struct{ If, When string }
	IDTokens     map[string]struct{ Aud string } `yaml:"id_tokens"`
	BeforeScript []string                        `yaml:"before_script"`
	Script       []string
	AfterScript  []string `yaml:"after_script"`
	Environment  string
	Group        string `yaml:"resource_group"`
	Timeout      string
	AllowFailure struct {
		ExitCodes []int `yaml:"exit_codes"`
	} `yaml:"allow_failure"`
	Artifacts struct {
		When     string
		ExposeAs string `yaml:"expose_as"`
		Paths    []string
		Reports  struct{ Dotenv string }
		ExpireIn string `yaml:"expire_in"`
	}
}

// glVariable is a variable, with a description where the form of a new pipeline asks for it.
type glVariable struct{ Value, Description string }

func (v *glVariable) UnmarshalYAML(n *yaml.Node) error {
	type fields glVariable
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&v.Value)
	}
	return n.Decode((*fields)(v))
}

// glPipeline is a .gitlab-ci.yml with these jobs.
type glPipeline struct {
	Stages   []string
	Workflow struct{ Rules []struct{ If string } }
	Default  struct {
		Tags          []string
		Interruptible bool
	}
	Variables map[string]glVariable
	Azure     glJob `yaml:".azure"`
	Plan      glJob
	Rotate    glJob
	Renew     glJob
}

// runGitLab runs the jobs of the event in the order of the stages. The lines of a script are one
// script, with the options of gitlab-runner.
func runGitLab(l *pipelineLab, file, event string) ended {
	var p glPipeline
	decode(l.t, file, &p)
	if !slices.Equal(p.Stages, []string{"plan", "rotate", "renew"}) {
		l.t.Fatalf("stages %v", p.Stages)
	}
	result, dotenv, failed := ended{map[string]int{}, map[string]string{}}, map[string]string{}, false
	for i, j := range []glJob{p.Plan, p.Rotate, p.Renew} {
		name := p.Stages[i]
		if j.Stage != name || j.Extends != ".azure" || len(j.Rules) != 1 {
			l.t.Fatalf("job %s: %+v", name, j)
		}
		if failed || j.Rules[0].If != `$CI_PIPELINE_SOURCE == "`+event+`"` {
			continue
		}
		r := l.job(nil)
		r.env = map[string]string{"GITLAB_CI": "true", "CI_PROJECT_DIR": r.dir, "CI_PIPELINE_SOURCE": event, "DEPLOY_KEY": filepath.Join(r.temp, "DEPLOY_KEY"), "AZURE_ID_TOKEN": "token",
			"AZURE_TENANT_ID": lab.TenantID, "AZURE_CLIENT_ID": labOperatorID, "AGENTS_CLIENT_ID": lab.ClientID}
		if p.Variables["LIMIT"].Description == "" {
			l.t.Error("LIMIT has no description, so no one is asked for it")
		}
		for name, v := range p.Variables {
			r.env[name] = strings.ReplaceAll(v.Value, "$CI_PROJECT_DIR", r.dir)
		}
		maps.Copy(r.env, dotenv)
		r.write(r.env["DEPLOY_KEY"], r.key+"\r\n")
		for _, needed := range j.Needs {
			for _, path := range p.Plan.Artifacts.Paths {
				r.download(needed+"-"+path, r.dir)
			}
		}
		code := r.run("set -eo pipefail\nset +o noclobber\n"+strings.Join(append(p.Azure.BeforeScript, j.Script...), "\n"), nil)
		r.run(strings.Join(p.Azure.AfterScript, "\n"), nil)
		r.forgets()
		result.codes[name], result.logs[name] = code, r.log.String()
		checkCommands(l.t, r.log.String(), "any", "none")
		checkSections(l.t, r.log.String())
		failed = code != 0 && !slices.Contains(j.AllowFailure.ExitCodes, code)
		r.collect(name, j, code, dotenv)
	}
	return result
}

// collect keeps the artefacts of a job, and the variables for the next.
func (r *job) collect(name string, j glJob, code int, dotenv map[string]string) {
	r.t.Helper()
	if code != 0 && j.Artifacts.When != "always" {
		return
	}
	for _, path := range j.Artifacts.Paths {
		r.upload(name+"-"+path, path)
	}
	if file := j.Artifacts.Reports.Dotenv; file != "" {
		for line := range strings.Lines(r.read(filepath.Join(r.dir, file))) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			dotenv[key] = value
		}
	}
}

// A pipeline's own sections are the only ones in its log.
func checkSections(t *testing.T, log string) {
	t.Helper()
	open := 0
	for _, m := range regexp.MustCompile(`section_(start|end):\d+:aoifleet_\d+\r\x1b\[0K`).FindAllStringSubmatch(log, -1) {
		if open += map[string]int{"start": 1, "end": -1}[m[1]]; open < 0 || open > 1 {
			t.Error("the sections are not one after the other")
		}
	}
	if open != 0 || strings.Count(log, "\x1b") != strings.Count(log, "\x1b[0K") {
		t.Errorf("%d open sections, %q", open, log)
	}
}
