package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/lab"
)

const pipelinesFolder = "../../examples/pipelines/"

// pipelineLab is a fleet, a simulated Azure and a repository with the files of a pipeline.
type pipelineLab struct {
	*lab.Fleet
	t *testing.T
	// signIn stands for the login of a pipeline: its token is worth nothing to the simulated
	// Azure, so the programs of a job sign in with a certificate.
	signIn  map[string]string
	rollout string // further keys of rollout in the inventory
	key     string // the deploy key, as an operator pastes it: with CRLF
	store   string // the artefacts
}

func startPipelineLab(t *testing.T, registered ...string) *pipelineLab {
	t.Helper()
	fleet, azure, err := startLabFleet(lab.Options{Dir: t.TempDir(), Machines: 3, Name: func(i int) string { return []string{"london-1", "london-2", "paris-1"}[i] },
		Parallel: 3, MaxFailures: 3, Window: 200 * time.Millisecond, RestartDelay: 50 * time.Millisecond, Notice: func(string) {}}, registered...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(azure.server.Close)
	t.Cleanup(func() { _ = fleet.Close() })
	if err := azure.addOperator(fleet); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(fleet.IdentityFile())
	if err != nil {
		t.Fatal(err)
	}
	return &pipelineLab{Fleet: fleet, t: t, key: strings.TrimRight(strings.ReplaceAll(string(key), "\n", "\r\n"), "\r\n"), store: t.TempDir(),
		signIn: map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": filepath.Join(fleet.Dir(), "operator.pem"), "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}}
}

// checkout returns a new folder with the repository.
func (l *pipelineLab) checkout() string {
	l.t.Helper()
	dir := l.t.TempDir()
	text := l.read(l.InventoryFile())
	own := strings.NewReplacer(l.IdentityFile(), "secrets/deploy_key", l.KnownHostsFile(), "known_hosts", "rollout: {", "rollout: {canary: 1, "+l.rollout).Replace(text)
	files := map[string]string{"fleet.yaml": own, "renew.yaml": strings.Replace(own, "certs/"+lab.NewCertificate, "keyvault://"+labSourceVault+"/"+labSourceName, 1),
		"known_hosts": l.read(l.KnownHostsFile()), labCAFile: l.read(filepath.Join(l.Dir(), labCAFile)), "certs/" + lab.NewCertificate: l.read(l.CertificateFile(lab.NewCertificate))}
	for name, text := range files {
		l.write(filepath.Join(dir, name), text)
	}
	return dir
}

func (l *pipelineLab) read(path string) string {
	l.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

func (l *pipelineLab) write(path, text string) {
	l.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		l.t.Fatal(err)
	}
}

// job is what the steps of a job share.
type job struct {
	*pipelineLab
	dir  string // the repository
	temp string
	env  map[string]string
	log  strings.Builder // of all steps
}

func (l *pipelineLab) job(env map[string]string) *job {
	return &job{pipelineLab: l, dir: l.checkout(), temp: l.t.TempDir(), env: env}
}

// run runs a script with bash as a runner does, and returns its exit code. There is no HOME.
func (j *job) run(script string, env map[string]string, flags ...string) int {
	j.t.Helper()
	file := filepath.Join(j.temp, "script.sh")
	j.write(file, script)
	cmd := exec.Command("bash", append(flags, file)...)
	cmd.Dir = j.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CI=true", "GORACE=" + quickExit}
	for _, vars := range []map[string]string{j.env, j.signIn, env} {
		for name, value := range vars {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	out, err := cmd.CombinedOutput()
	j.log.Write(out)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		j.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// upload keeps a file or a folder of the job as an artefact, download returns it. It holds no key.
func (j *job) upload(name, path string) {
	j.t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(j.dir, path)
	}
	into := filepath.Join(j.store, name)
	if out, err := exec.Command("sh", "-c", `rm -rf "$2" && mkdir -p "$2" && cp -r "$1" "$2"`, "sh", path, into).CombinedOutput(); err != nil {
		j.t.Fatalf("artefact %s: %s", name, out)
	}
	if out, _ := exec.Command("grep", "-rlE", "PRIVATE KEY|MII[A-Za-z0-9+/]{40}", into).Output(); len(out) > 0 {
		j.t.Errorf("artefact %s has a key: %s", name, out)
	}
}

func (j *job) download(name, to string) {
	j.t.Helper()
	if out, err := exec.Command("sh", "-c", `mkdir -p "$2" && cp -r "$1"/. "$2"`, "sh", filepath.Join(j.store, name), to).CombinedOutput(); err != nil {
		j.t.Fatalf("artefact %s: %s", name, out)
	}
}

// forgets checks that the job leaves no key on the runner, however it ended.
func (j *job) forgets() {
	j.t.Helper()
	if _, err := os.Stat(filepath.Join(j.dir, "secrets")); err == nil {
		j.t.Error("the job leaves its secrets")
	}
}

// ended is how the jobs of a pipeline ended: their exit codes, by name, and their logs.
type ended struct {
	codes map[string]int
	logs  map[string]string
}

// pipelineRunner runs a file of a pipeline, triggered by an event, with an answer yes to every
// approval.
type pipelineRunner func(l *pipelineLab, file, event string) ended

// pipelineOf are the files of examples/pipelines with scripts, and the event that starts them.
var pipelineOf = map[string]struct {
	run   pipelineRunner
	event string
}{
	"github.yaml":             {runGitHub, "workflow_dispatch"},
	"github-canary.yaml":      {runGitHub, "workflow_dispatch"},
	"renew-github.yaml":       {runGitHub, "schedule"},
	"azure-devops.yaml":       {runAzurePipeline, ""},
	"renew-azure-devops.yaml": {runAzurePipeline, "schedule"},
	"gitlab.yaml":             {runGitLab, "web"},
}

// Each pipeline of examples/ works as it stands: its scripts run in the order of the file, with
// their variables, artefacts and conditions, on a fleet and an Azure of the lab.
func TestPipelines(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(pipelinesFolder + "*.yaml")
	if err != nil || len(files) != len(pipelineOf) {
		t.Fatalf("%v: of %d files %d have a test", err, len(files), len(pipelineOf))
	}
	type want struct {
		fault  string // of paris-1
		event  string
		codes  map[string]int
		log    string // a pattern of the log of the last job
		live   string // where the new certificate is then
		before int    // runs before
	}
	all := "london-1 london-2 paris-1"
	for name, tests := range map[string]map[string]want{
		"github.yaml": {
			"changes":     {codes: map[string]int{"plan": 0, "rotate": 0}, log: "3 hosts: 3 rotated", live: all},
			"none":        {before: 1, codes: map[string]int{"plan": 0}, live: all},
			"unreachable": {fault: "unreachable", codes: map[string]int{"plan": 4}, log: "paris-1 was left out: unreachable"},
			"rolled back": {fault: "log-only NEW", codes: map[string]int{"plan": 0, "rotate": 6}, log: "::error title=rolled_back%3A paris-1::unhealthy: ", live: "london-1 london-2"},
		},
		"github-canary.yaml": {
			"changes":     {codes: map[string]int{"canary": 0, "others": 0}, log: "3 hosts: 2 rotated, 1 current", live: all},
			"unreachable": {fault: "unreachable", codes: map[string]int{"canary": 0, "others": 4}, live: "london-1 london-2"},
		},
		"renew-github.yaml": {
			"changes":     {codes: map[string]int{"renew": 0}, log: "3 hosts: 3 rotated", live: all},
			"unreachable": {fault: "unreachable", codes: map[string]int{"renew": 0}, log: "::warning title=aoifleet renew::", live: "london-1 london-2"},
			"rolled back": {fault: "log-only NEW", codes: map[string]int{"renew": 6}, live: "london-1 london-2"},
			"freeze":      {fault: "freeze", codes: map[string]int{"renew": 0}, log: "3 hosts: 3 skipped"},
		},
		"azure-devops.yaml": {
			"changes":     {codes: map[string]int{"plan": 0, "rotate": 0}, log: "3 hosts: 3 rotated", live: all},
			"none":        {before: 1, codes: map[string]int{"plan": 0}, live: all},
			"unreachable": {fault: "unreachable", codes: map[string]int{"plan": 4}, log: "paris-1 was left out: unreachable"},
			"rolled back": {fault: "log-only NEW", codes: map[string]int{"plan": 0, "rotate": 6}, log: `##vso\[task.logissue type=error\]rolled_back: paris-1: unhealthy: `, live: "london-1 london-2"},
		},
		"renew-azure-devops.yaml": {
			"changes":     {codes: map[string]int{"renew": 0}, log: "3 hosts: 3 rotated", live: all},
			"unreachable": {fault: "unreachable", codes: map[string]int{"renew": 0}, log: `##vso\[task.complete result=SucceededWithIssues\]`, live: "london-1 london-2"},
			"rolled back": {fault: "log-only NEW", codes: map[string]int{"renew": 6}, live: "london-1 london-2"},
			"freeze":      {fault: "freeze", codes: map[string]int{"renew": 0}, log: "3 hosts: 3 skipped"},
		},
		"gitlab.yaml": {
			"changes":     {codes: map[string]int{"plan": 0, "rotate": 0}, log: "3 hosts: 3 rotated", live: all},
			"unreachable": {fault: "unreachable", codes: map[string]int{"plan": 4}},
			"renew":       {event: "schedule", codes: map[string]int{"renew": 0}, log: "3 hosts: 3 rotated", live: all},
			"renew 4":     {event: "schedule", fault: "unreachable", codes: map[string]int{"renew": 4}, live: "london-1 london-2"},
		},
	} {
		for title, tt := range tests {
			t.Run(name+"/"+title, func(t *testing.T) {
				t.Parallel()
				certificates, p := []string{lab.OldCertificate}, pipelineOf[name]
				if strings.Contains(name+title, "renew") || strings.Contains(name, "canary") {
					certificates = append(certificates, lab.NewCertificate) // nothing registers it
				}
				l := startPipelineLab(t, certificates...)
				if tt.fault == "freeze" {
					l.rollout = "freezes: [{from: 2001-01-01, to: 2199-12-31, zone: UTC}], "
				} else if tt.fault != "" {
					setFault(t, l.Fleet, "paris-1", strings.ReplaceAll(tt.fault, "NEW", l.NewThumbprint()))
				}
				event := p.event
				if tt.event != "" {
					event = tt.event
				}
				var got ended
				for range tt.before + 1 {
					got = p.run(l, pipelinesFolder+name, event)
				}
				if !maps.Equal(got.codes, tt.codes) {
					t.Errorf("exit codes %v, want %v\n%v", got.codes, tt.codes, got.logs)
				}
				last := slices.Sorted(maps.Keys(got.codes))
				if log := got.logs[last[len(last)-1]]; !regexp.MustCompile(tt.log).MatchString(log) {
					t.Errorf("the log has no %s:\n%s", tt.log, log)
				}
				var live []string
				for _, m := range []string{"london-1", "london-2", "paris-1"} {
					if thumbprintOf(t, l.Fleet, m) == l.NewThumbprint() {
						live = append(live, m)
					}
				}
				if strings.Join(live, " ") != tt.live {
					t.Errorf("the new certificate is live on %v, not on %s", live, tt.live)
				}
			})
		}
	}
}

func thumbprintOf(t *testing.T, f *lab.Fleet, machine string) string {
	t.Helper()
	code, stdout, _ := call(f, "status", "--limit", machine, "-o", "json")
	var d struct {
		Hosts []struct{ Old struct{ Thumbprint string } }
	}
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || len(d.Hosts) != 1 {
		t.Fatalf("exit code %d, %v\n%s", code, err, stdout)
	}
	return d.Hosts[0].Old.Thumbprint
}

// decode reads a file whose structure is known: another key is an error.
func decode(t *testing.T, file string, to any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	if err := d.Decode(to); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
