package rollout

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// wantedFile returns a configuration that is to be replaced.
func wantedFile() Wanted {
	seen := host.File{Path: "/config.yaml", Real: "/config.yaml", Kind: "file", Digest: oldSum, Owner: "root:agent", Mode: "640", Changed: clock.Add(-48 * time.Hour)}
	return Wanted{What: "configuration", Seen: seen, Data: []byte("agent_id: a\n")}
}

// A configuration alone, and with a certificate.
func TestDecideFiles(t *testing.T) {
	live := func(e *Entry) { e.Files[0].Seen.Digest = e.Files[0].Digest() }
	rotated := func(e *Entry) { e.FilesOnly = false }
	sameCertificate := func(e *Entry) { e.FilesOnly = false; e.Seen.File.Digest = e.Certificate.Digest() }
	for name, c := range map[string]struct {
		change  []func(*Entry)
		action  Action
		outcome Outcome
		reason  string
	}{
		"new":                                    {action: Change, reason: "new configuration"},
		"no certificate":                         {change: []func(*Entry){func(e *Entry) { e.Certificate = nil }}, action: Change, reason: "new configuration"},
		"certificate bad":                        {change: []func(*Entry){func(e *Entry) { e.Seen.File.Kind = "nodir" }}, action: Change, reason: "new configuration"},
		"managed":                                {change: []func(*Entry){func(e *Entry) { e.Seen.Provider = nil }}, action: Change, reason: "new configuration"},
		"managed, rotate":                        {change: []func(*Entry){rotated, func(e *Entry) { e.Seen.Provider = nil }}, action: Change, reason: "new configuration"},
		"both":                                   {change: []func(*Entry){rotated}, action: Rotate, reason: "new certificate, new configuration"},
		"rotate, only the configuration differs": {change: []func(*Entry){sameCertificate}, action: Change, reason: "new configuration"},
		"rotate, only the certificate differs":   {change: []func(*Entry){rotated, live}, action: Rotate, reason: "new certificate"},
		"rotate, nothing differs":                {change: []func(*Entry){sameCertificate, live}, action: None, outcome: Current, reason: "already live"},
		"nothing differs":                        {change: []func(*Entry){live}, action: None, outcome: Current, reason: "already live"},
		"another mode":                           {change: []func(*Entry){live, func(e *Entry) { e.Files[0].Mode = "600" }}, action: Change, reason: "new configuration"},
		"as it is":                               {change: []func(*Entry){func(e *Entry) { e.Files[0].Data = nil }}, action: None, outcome: Current, reason: "already live"},
		"process older": {change: []func(*Entry){live, func(e *Entry) { e.Files[0].Seen.Changed = clock }},
			action: Restart, reason: "the agent started before it changed"},
		"denied": {change: []func(*Entry){live, func(e *Entry) { e.Seen.Denied = "ERROR" }}, action: None, outcome: Refused,
			reason: "the configuration is live already, but the log says: ERROR"},
		"folder": {change: []func(*Entry){func(e *Entry) { e.Files[0].Seen.Kind = "nodir" }}, action: None, outcome: Refused, reason: "the folder of /config.yaml"},
		"lint": {change: []func(*Entry){func(e *Entry) { e.Files[0].Problem = &problem.Error{Message: "line 1: bad"} }},
			action: None, outcome: Refused, reason: "line 1: bad"},
		"no edit": {change: []func(*Entry){func(e *Entry) { e.Files[0].Data, e.Files[0].Problem = nil, &problem.Error{Message: "no such key"} }},
			action: None, outcome: Refused, reason: "no such key"},
		"interrupted": {change: []func(*Entry){live, func(e *Entry) { e.Seen.Receipts = []host.Receipt{{State: "pending", Run: "r"}} }},
			action: Change, reason: "recovered first"},
	} {
		target := newFakeFleet("a").targets("a")[0]
		target.Files, target.FilesOnly = []Wanted{wantedFile()}, true
		e := Entry{Target: target, Seen: healthy()}
		for _, change := range c.change {
			change(&e)
		}
		got := decide(e.Target, Look{Seen: e.Seen}, false)
		if got.Action != c.action || got.Outcome != c.outcome || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s %q %q, want %s %q %q", name, got.Action, got.Outcome, got.Reason, c.action, c.outcome, c.reason)
		}
	}
}

// A file with an error on one host stops the run before any host: the operator sees all of them first.
func TestUnfitFileStopsThePlan(t *testing.T) {
	targets := newFakeFleet("a", "b", "c").targets("a", "b", "c")
	looks := make([]Look, len(targets))
	for i := range targets {
		targets[i].Files, targets[i].FilesOnly = []Wanted{wantedFile()}, true
		looks[i] = Look{Seen: healthy()}
	}
	targets[1].Files[0].Problem = &problem.Error{Class: problem.Configuration, Message: "line 1: bad"}
	p := Make(targets, looks, policy())
	for i, want := range []Outcome{Skipped, Refused, Skipped} {
		if got := p.Entries[i].Outcome; got != want {
			t.Errorf("%s is %q, want %q", p.Entries[i].Host.Name, got, want)
		}
	}
	if p.Changes() != 0 || len(p.Waves) != 0 || !p.Unaccepted {
		t.Errorf("%d changes, %d waves", p.Changes(), len(p.Waves))
	}
}

// What an interrupted run has left is recovered first, and the files follow from what is there then.
func TestFilesAfterRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a")
		vm := f.vms["a"]
		vm.seen.Receipts = []host.Receipt{{State: "pending", Run: "other"}}
		vm.seen.Configuration = &host.Content{File: wantedFile().Seen, Data: []byte("half")}
		vm.recovery = host.RolledBack
		vm.onRecover = func(vm *fakeVM) {
			vm.seen.Receipts, vm.seen.Configuration = nil, &host.Content{File: wantedFile().Seen, Data: []byte("old")}
		}
		r := f.runner()
		r.Want = func(target *Target, seen *host.Observation) {
			w := wantedFile()
			w.Data = append([]byte("new from "), seen.Configuration.Data...)
			target.Files, target.FilesOnly = []Wanted{w}, true
		}
		defer r.Close()
		targets := f.targets("a")
		plan := Make(targets, r.Survey(t.Context(), targets, 1), policy())
		run := r.Apply(t.Context(), t.Context(), plan)
		if got, want := vm.changed.Digest, digestOf([]byte("new from old")); run.Results[0].Outcome != Changed || got != want || vm.changed.File == nil || vm.changed.What != "configuration" {
			t.Errorf("%s, installed %s, want %s", run.Results[0].Outcome, got, want)
		}
	})
}

// TestFolderOfASecretIsMade before the change, once; the plan keeps what it saw. Of another file
// a missing folder is a reason to refuse.
func TestFolderOfASecretIsMade(t *testing.T) {
	f := newFakeFleet("a")
	target := f.targets("a")[0]
	for _, name := range []string{"key", "phrase"} {
		target.Files = append(target.Files, Wanted{What: SecretFile + " " + name, Data: []byte("x"), Seen: host.File{Path: "/s/" + name, Kind: "nodir", Digest: "none", Makeable: true}})
	}
	target.FilesOnly = true
	res := &Result{Entry: decide(target, Look{Seen: healthy()}, false)}
	if res.Action != Change || res.Reason != "new secret key, new secret phrase" {
		t.Fatalf("%s, %q", res.Action, res.Reason)
	}
	if err := makeFolders(t.Context(), &fakeHost{fakeVM: f.vms["a"]}, res); err != nil {
		t.Fatal(err)
	}
	if res.Files[0].Seen.Kind != "missing" || res.Files[1].Seen.Kind != "missing" || target.Files[0].Seen.Kind != "nodir" || strings.Join(res.Notes, "|") != "created the folder /s" {
		t.Errorf("%+v, %q", res.Files, res.Notes)
	}
	target.Files[0].What = "configuration"
	if e := decide(target, Look{Seen: healthy()}, false); e.Outcome != Refused {
		t.Errorf("%s %s", e.Action, e.Outcome)
	}
}

// TestSecretIsNotShown: no message has a digest of it, and its path is not trusted.
func TestSecretIsNotShown(t *testing.T) {
	w := Wanted{What: SecretFile + " pw", Seen: host.File{Path: "/s/pw", Kind: "file", Digest: strings.Repeat("a", 64)}, Data: []byte("x")}
	e := Entry{Target: Target{Files: []Wanted{w}, FilesOnly: true, Paths: []string{"/s/pw"}}, Seen: healthy()}
	now := &host.Observation{Others: []host.File{w.Seen}}
	if got := e.replacedFile(now); got != "the secret pw was replaced" {
		t.Errorf("%q", got)
	}
	now.Others[0].Digest = w.Digest()
	if got := e.replacedFile(now); got != "" || e.isAsBefore(now) || strings.Join(e.again(host.ObserveOptions{}).Files, " ") != "/s/pw" {
		t.Errorf("%q", got)
	}
	if c := e.withFiles(host.Change{}); c.Trust || c.What != "secret" || c.File.Path != "/s/pw" || c.Configuration != nil {
		t.Errorf("%+v", c)
	}
}

// lookHost is a host whose observations depend on the options.
type lookHost struct {
	*fakeHost
	look func(host.ObserveOptions) *host.Observation
}

func (h lookHost) Observe(_ context.Context, o host.ObserveOptions) (*host.Observation, error) {
	return h.look(o), nil
}

// Where a new configuration has the certificate is the operator's word only if the configuration is:
// whoever can write the host's own one decides what an edit makes of it, so root must check the path.
func TestMovedCertificateIsTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		agent   inventory.Agent
		path    string
		trusted bool
	}{
		"an edit":                          {inventory.Agent{}, "/new.p12", false},
		"the inventory's configuration":    {inventory.Agent{Configuration: "conf.yaml"}, "/new.p12", true},
		"the path is that of the host":     {inventory.Agent{Configuration: "conf.yaml"}, "/old.p12", false},
		"the inventory also has that path": {inventory.Agent{CertificatePath: "/new.p12"}, "/new.p12", true},
	} {
		f := newFakeFleet("a")
		target := f.targets("a")[0]
		target.Host.Agent = c.agent
		var last host.ObserveOptions
		h := lookHost{&fakeHost{fakeVM: f.vms["a"]}, func(o host.ObserveOptions) *host.Observation {
			last = o
			seen := healthy()
			seen.File.Path = cmp.Or(o.Certificate, "/old.p12")
			return seen
		}}
		r := f.runner()
		r.Want = func(t *Target, _ *host.Observation) {
			t.Files, t.Next, t.Provider = []Wanted{wantedFile()}, &host.AgentConfig{}, &host.Provider{Path: c.path}
		}
		seen, err := r.observeWanted(t.Context(), h, &target, host.ObserveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		e := Entry{Target: target, Seen: seen}
		moved := c.path != "/old.p12"
		if last.Trust != (c.trusted && moved) || last.Certificate != "" != moved || e.parts()[0].Trust != c.trusted {
			t.Errorf("%s: %+v, %v", name, last, e.parts()[0].Trust)
		}
		if again := e.again(host.ObserveOptions{}); moved && again.Trust != c.trusted {
			t.Errorf("%s: %+v", name, again)
		}
	}
}

// A configuration that changes between two looks at the host is not changed: the certificate would go
// where the first one had it, and the agent would read another.
func TestConfigurationMovesTheCertificateAgain(t *testing.T) {
	f := newFakeFleet("a")
	target := f.targets("a")[0]
	h := lookHost{&fakeHost{fakeVM: f.vms["a"]}, func(host.ObserveOptions) *host.Observation { return healthy() }}
	r, looks := f.runner(), 0
	r.Want = func(t *Target, _ *host.Observation) {
		looks++
		t.Files, t.Next, t.Provider = []Wanted{wantedFile()}, &host.AgentConfig{}, &host.Provider{Path: fmt.Sprintf("/%d.p12", looks)}
	}
	_, err := r.observeWanted(t.Context(), h, &target, host.ObserveOptions{})
	if p := problem.As(err); p == nil || p.Class != problem.Drift {
		t.Errorf("%v", err)
	}
}

// A configuration that names a managed identity has no certificate to rotate.
func TestConfigurationWithoutCertificate(t *testing.T) {
	f := newFakeFleet("a")
	target := f.targets("a")[0]
	target.Moved = true // before a recovery
	h := lookHost{&fakeHost{fakeVM: f.vms["a"]}, func(host.ObserveOptions) *host.Observation {
		seen := healthy()
		seen.Unnamed = &problem.Error{Message: "the old one is not YAML"}
		return seen
	}}
	r := f.runner()
	r.Want = func(t *Target, _ *host.Observation) {
		t.Files, t.Next = []Wanted{wantedFile()}, &host.AgentConfig{}
	}
	seen, err := r.observeWanted(t.Context(), h, &target, host.ObserveOptions{})
	if e := decide(target, Look{seen, err}, false); e.Action != Change || e.Outcome != "" || len(e.parts()) != 1 {
		t.Errorf("%s %q, %d files, %v", e.Action, e.Outcome, len(e.parts()), err)
	}
	target.Moved = true
	r.Want = func(t *Target, _ *host.Observation) { t.Next = nil } // an edit that can't be applied
	if _, err := r.observeWanted(t.Context(), h, &target, host.ObserveOptions{}); err != nil || target.Moved {
		t.Errorf("%v, moved %v", err, target.Moved)
	}
}

// A required proof is required of a change of several files too, by the pipelines of the new
// configuration.
func TestRequiredProofWithFiles(t *testing.T) {
	target := newFakeFleet("a").targets("a")[0]
	w := wantedFile()
	target.Files, target.Provider = []Wanted{w}, &host.Provider{Path: "/new.p12"}
	target.Next = &host.AgentConfig{Providers: []host.Provider{{Path: "/new.p12", Pipelines: []string{"p"}}}}
	seen := healthy()
	seen.Provider = target.Provider
	policy := Policy{RequireProof: Uploaded}
	e := policy.decide(target, Look{Seen: seen})
	if e.Outcome != "" {
		t.Fatalf("%s: %s", e.Outcome, e.Reason)
	}
	a := &apply{Runner: &Runner{}, plan: &Plan{Policy: policy}}
	if c := a.change(e); c.Require != Uploaded || len(c.Others) != 1 {
		t.Errorf("%q, %d other files", c.Require, len(c.Others))
	}
	target.Next = &host.AgentConfig{}
	if e := policy.decide(target, Look{Seen: seen}); e.Outcome != Refused {
		t.Errorf("without pipelines: %q", e.Outcome)
	}
}

// The report of an undo that failed names what could not be restored.
func TestUndoOfFilesFails(t *testing.T) {
	e := Entry{Target: Target{Files: []Wanted{wantedFile()}}, Seen: healthy(), Action: Change}
	if got := e.undoProblem(nil, nil).Message; !strings.HasPrefix(got, "the old configuration could not be restored") {
		t.Error(got)
	}
}

// A run that has changed only the mode of a file is undone too: nothing else tells that it was.
func TestRollbackOfTheModeAlone(t *testing.T) {
	seen := healthy()
	saved := host.SavedFile{Path: "/s/pw", Real: "/s/pw", Old: oldSum, New: oldSum, Owner: "root:root", Mode: "640",
		File: host.File{Path: "/s/pw", Real: "/s/pw", Kind: "file", Digest: oldSum, Owner: "root:root", Mode: "600"}}
	seen.Backups = []host.Backup{{Run: "r", Old: oldSum, New: oldSum, What: SecretFile, Files: []host.SavedFile{saved}}}
	decide := func() Entry { return decideRollback("r", newFakeFleet("a").targets("a")[0], Look{Seen: seen}, false) }
	e := decide()
	if e.Action != Restore || !e.restoring(host.Change{}).Swap {
		t.Errorf("%s %s", e.Action, e.Reason)
	}
	seen.Backups[0].Files[0].File.Mode = "640"
	if e := decide(); e.Action == Restore {
		t.Error("restored again")
	}
}

// TestHostKeysAreNotTrusted: the agent's configuration names the file, which its user may write.
func TestHostKeysAreNotTrusted(t *testing.T) {
	w := Wanted{What: HostKeys + "h:22", Seen: host.File{Path: "/k", Kind: "file", Digest: strings.Repeat("a", 64)}, Data: []byte("x")}
	e := Entry{Target: Target{Files: []Wanted{w}, FilesOnly: true, Paths: []string{"/k"}}, Seen: healthy()}
	if c := e.withFiles(host.Change{}); c.Trust || c.What != "hostkeys" || c.File.Path != "/k" {
		t.Errorf("%+v", c)
	}
}
