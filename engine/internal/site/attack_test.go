package site

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

const (
	run1 = "20261123-084512-K3F9"
	unit = "agent.service"
	path = "/etc/agent/dp.p12"
)

// vm is the interface under another name than that of target's method.
type vm = rollout.Host

// target is a host that notes what is done on it.
type target struct {
	vm      // nil: what is not below is never called
	own     *inventory.Host
	cert    *certificate.Certificate
	seen    *host.Observation
	dialled []inventory.Host
	runs    []host.Run
	wholes  []bool
	done    []string
	change  host.Change
}

func newTarget() *target {
	clock := time.Now()
	return &target{
		own:  &inventory.Host{Name: "h", Address: "192.0.2.1", Group: "north", User: "u", Agent: inventory.Agent{Unit: unit, Config: "/etc/agent/config.yaml", Log: "/var/log/agent.log", WhenStopped: "refuse"}},
		cert: certificate.Known(certificate.Info{Thumbprint: "NEW", NotBefore: clock.Add(-time.Hour), NotAfter: clock.Add(time.Hour)}, "new"),
		seen: &host.Observation{Clock: clock, Unit: host.Unit{ID: unit, Type: "simple", Load: "loaded", Active: "active", Sub: "running", File: "enabled"},
			Provider: &host.Provider{Name: "p", Path: path}, Configured: "c0", Settings: "i0", Space: 1 << 30,
			File: host.File{Path: path, Real: path, Folder: "1:2", Kind: "file", Digest: "old"}},
	}
}

func (h *target) Host(d rollout.HostData, whole bool) (*inventory.Host, error) {
	h.wholes = append(h.wholes, whole)
	if d.Name != h.own.Name {
		return nil, problem.New(problem.Configuration, "", "no such host")
	}
	return h.own, nil
}

func (h *target) Dial(_ context.Context, own inventory.Host, run host.Run) (rollout.Host, error) {
	h.dialled, h.runs = append(h.dialled, own), append(h.runs, run)
	return h, nil
}

func (h *target) Certificate(context.Context, *inventory.Host) (*certificate.Certificate, error) {
	return h.cert, nil
}

func (h *target) Observe(context.Context, host.ObserveOptions) (*host.Observation, error) {
	seen := *h.seen
	return &seen, nil
}

func (h *target) note(what string) *host.Report {
	h.done = append(h.done, what)
	return &host.Report{Ending: host.Rotated}
}

func (h *target) Stage(context.Context, []byte, string) error { h.note("stage"); return nil }
func (h *target) Discard(context.Context) error               { h.note("discard"); return nil }
func (h *target) Recover(context.Context, func(string)) *host.Report {
	return h.note("recover")
}
func (h *target) Rotate(_ context.Context, c host.Change, _ func(string)) *host.Report {
	h.change = c
	return h.note("rotate")
}
func (h *target) Close() error { return nil }

// rotate is the request of a rotation that is in order.
func (h *target) rotate() protocol.OneHost {
	seen := *h.seen
	return protocol.OneHost{Version: protocol.Version, Run: protocol.Run{ID: run1, Owner: "op"}, Host: rollout.DataOf(h.own), Digest: "new",
		Change: &host.Change{Seen: &seen, Digest: "new", New: &h.cert.Leaf, Swap: true, Start: true, Deadman: true}}
}

// undo is the request of an undo that is in order.
func (h *target) undo() protocol.OneHost {
	h.seen.File.Digest = "new"
	h.seen.Backups = []host.Backup{{Run: run1, Old: "old", New: "new"}}
	q := h.rotate()
	q.Run.ID = rollout.UndoID(run1)
	q.Change.Saved, q.Change.Digest = run1, "old"
	return q
}

// newEnvironment returns an environment for activities whose SDK writes to logs.
func newEnvironment(logs io.Writer) *testsuite.TestActivityEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(logs, nil))))
	return suite.NewTestActivityEnvironment()
}

// environment has a worker for the host.
func (h *target) environment(logs *bytes.Buffer) *testsuite.TestActivityEnvironment {
	env := newEnvironment(logs)
	(&Activities{Site: "north", Log: slog.New(slog.NewTextHandler(logs, nil)), Open: func(string) (Hosts, func(), error) { return h, func() {}, nil }}).Register(env)
	return env
}

// ask has an activity done, and returns its answer as its problem.
func (h *target) ask(t *testing.T, activity string, q any) *problem.Error {
	t.Helper()
	value, err := h.environment(new(bytes.Buffer)).ExecuteActivity(activity, q)
	var answer protocol.Answer // the others have a field of this name too
	if err == nil {
		err = value.Get(&answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer.Problem
}

// What a request in order does, and that the host is told nothing of the request.
func TestChangesInOrder(t *testing.T) {
	h := newTarget()
	q := h.rotate()
	q.Change.New = &certificate.Info{Thumbprint: "FORGED\nowner=root"}
	q.Change.Seen.Config.ListenerPort, q.Change.Seen.Note, q.Change.Require = 22, "forged", "uploaded"
	q.Change.Seen.Settings = "i1" // which spares a look, and is not certain every time
	if p := h.ask(t, protocol.Rotate, q); p != nil || h.change.New.Thumbprint != "NEW" || h.change.Seen.Config.ListenerPort != 0 || h.change.Seen.Note != "" || h.change.Seen.Settings != "i0" {
		t.Errorf("%+v, %+v", p, h.change)
	}
	want := host.Change{Seen: h.change.Seen, New: h.change.New, Digest: "new", Swap: true, Start: true, Deadman: true, Require: "uploaded"}
	if !reflect.DeepEqual(h.change, want) || !slices.Equal(h.wholes, []bool{true}) {
		t.Errorf("%+v", h.change)
	}
	h.seen.File.Digest = "new" // a restart
	q = h.rotate()
	q.Change.Swap = false
	if p := h.ask(t, protocol.Rotate, q); p != nil || h.change.Swap {
		t.Errorf("%+v", p)
	}
	h = newTarget()
	if p := h.ask(t, protocol.Rotate, h.undo()); p != nil || h.change.Saved != run1 || h.change.Digest != "old" {
		t.Errorf("%+v, %+v", p, h.change)
	}
}

// asks are what an attacker may try with the fields of a Change, by field.
var asks = map[string]map[string]func(*host.Change){
	"Seen": {
		"none":                  func(c *host.Change) { c.Seen = nil },
		"another file":          func(c *host.Change) { c.Seen.File.Path = "/etc/shadow" },
		"another end of a link": func(c *host.Change) { c.Seen.File.Real = "/etc/shadow" },
		"another folder":        func(c *host.Change) { c.Seen.File.Folder = "3:4" },
		"another digest":        func(c *host.Change) { c.Seen.File.Digest = "other" },
		"another configuration": func(c *host.Change) { c.Seen.Configured = "c1" },
		"another unit":          func(c *host.Change) { c.Seen.Unit.ID = "sshd.service" },
	},
	"Digest":   {"another certificate": func(c *host.Change) { c.Digest = "old" }, "no file": func(c *host.Change) { c.Digest = "none" }},
	"New":      {},
	"Swap":     {"only a restart": func(c *host.Change) { c.Swap = false }},
	"Start":    {"the agent stays stopped": func(c *host.Change) { c.Start = false }},
	"Deadman":  {}, // a plan may be without it, as on the workstation
	"Saved":    {"a backup without an undo": func(c *host.Change) { c.Saved = run1 }, "of another run": func(c *host.Change) { c.Saved = "20261122-084512-K3F9" }, "a path": func(c *host.Change) { c.Saved = "../.." }},
	"Require":  {"another proof": func(c *host.Change) { c.Require = "none" }},
	"Rehearse": {"": func(c *host.Change) { c.Rehearse = true }},
	"Diagnose": {"": func(c *host.Change) { c.Diagnose = true }},
	"File":     {"": func(c *host.Change) { c.File = &host.File{Path: "/etc/shadow"} }, "the same": func(c *host.Change) { c.File = &c.Seen.File }},
	"What":     {"": func(c *host.Change) { c.What = "configuration" }},
	"Owner":    {"": func(c *host.Change) { c.Owner = "root:root" }},
	"Mode":     {"": func(c *host.Change) { c.Mode = "666" }},
	"Trust":    {"": func(c *host.Change) { c.Trust = true }},
	"Length":   {"": func(c *host.Change) { c.Length = 1 }},
	"Others": {"": func(c *host.Change) {
		c.Others = []host.FileChange{{Seen: host.File{Path: "/etc/shadow"}, Digest: "none", Swap: true}}
	}},
	"Package":       {"": func(c *host.Change) { c.Package = &host.PackageChange{Name: "openssh-server"} }},
	"Configuration": {"": func(c *host.Change) { c.Configuration = []byte("x") }},
}

// Whatever field of a change an attacker sets, the host is not changed by it.
func TestForgedChanges(t *testing.T) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[host.Change]()) {
		if asks[f.Name] == nil {
			t.Errorf("nothing is tried with %s", f.Name)
		}
	}
	for field, all := range asks {
		for what, forge := range all {
			h := newTarget()
			q := h.rotate()
			forge(q.Change)
			if p := h.ask(t, protocol.Rotate, q); p == nil || len(h.done) > 0 {
				t.Errorf("%s, %s: %+v, %v", field, what, p, h.done)
			}
		}
	}
	h := newTarget()
	q := h.rotate()
	q.Change = nil
	if p := h.ask(t, protocol.Rotate, q); p == nil || len(h.dialled) > 0 {
		t.Errorf("%+v", p)
	}
}

// An undo restores what its own run has replaced, if that is live and nothing else was changed.
func TestForgedUndos(t *testing.T) {
	for what, forge := range map[string]func(h *target, q *protocol.OneHost){
		"of another run":       func(_ *target, q *protocol.OneHost) { q.Run.ID = "20261123-084512-K3FXUNDO" },
		"not as an undo":       func(_ *target, q *protocol.OneHost) { q.Run.ID = run1 },
		"without a backup":     func(h *target, _ *protocol.OneHost) { h.seen.Backups = nil },
		"of a new certificate": func(_ *target, q *protocol.OneHost) { q.Change.Saved, q.Change.Digest = "", "new" },
		"to another digest":    func(_ *target, q *protocol.OneHost) { q.Change.Digest = "other" },
		"replaced since":       func(h *target, q *protocol.OneHost) { h.seen.File.Digest, q.Change.Seen.File.Digest = "later", "later" },
		"only a restart":       func(_ *target, q *protocol.OneHost) { q.Change.Swap = false },
		"more files":           func(h *target, _ *protocol.OneHost) { h.seen.Backups[0].Others = 1 },
		"a package":            func(h *target, _ *protocol.OneHost) { h.seen.Backups[0].Package = &host.PackageChange{} },
		"another file":         func(h *target, _ *protocol.OneHost) { h.seen.Backups[0].What = "configuration" },
		"no file before":       func(h *target, q *protocol.OneHost) { h.seen.Backups[0].Old, q.Change.Digest = "none", "none" },
		"a run in progress": func(h *target, _ *protocol.OneHost) {
			h.seen.Receipts = []host.Receipt{{State: "pending", Run: "other", AtWork: true, Left: time.Minute}}
		},
	} {
		h := newTarget()
		q := h.undo()
		forge(h, &q)
		if p := h.ask(t, protocol.Rotate, q); p == nil || len(h.done) > 0 {
			t.Errorf("%s: %+v, %v", what, p, h.done)
		}
	}
}

// The other fields of a request name a host, a run and a unit, and nothing more.
func TestForgedRequests(t *testing.T) {
	for what, forge := range map[string]func(q *protocol.OneHost){
		"another version":      func(q *protocol.OneHost) { q.Version++ },
		"no version":           func(q *protocol.OneHost) { q.Version = 0 },
		"no run":               func(q *protocol.OneHost) { q.Run.ID = "" },
		"a path as a run":      func(q *protocol.OneHost) { q.Run.ID = "../../etc" },
		"two lines as a run":   func(q *protocol.OneHost) { q.Run.ID += "\nowner=x" },
		"a long run":           func(q *protocol.OneHost) { q.Run.ID += strings.Repeat("A", 20) },
		"another host":         func(q *protocol.OneHost) { q.Host.Name = "other" },
		"a unit of the system": func(q *protocol.OneHost) { q.Unit = "sshd.service" },
		"a unit and a command": func(q *protocol.OneHost) { q.Unit = "agent.service; reboot" },
	} {
		for _, activity := range []string{protocol.Stage, protocol.Rotate, protocol.Recover, protocol.Discard, protocol.Observe} {
			h := newTarget()
			q := h.rotate()
			forge(&q)
			if p := h.ask(t, activity, q); p == nil || len(h.done) > 0 {
				t.Errorf("%s, %s: %+v, %v", activity, what, p, h.done)
			}
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[host.ObserveOptions]()) {
		h := newTarget()
		q := h.rotate()
		switch field := reflect.ValueOf(&q.Options).Elem().FieldByIndex(f.Index); field.Kind() {
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Slice:
			field.Set(reflect.ValueOf([]string{"/etc/shadow"}))
		default:
			field.SetString("20261122-084512-K3F9")
		}
		if p := h.ask(t, protocol.Observe, q); (p == nil) != (f.Name == "Command") {
			t.Errorf("%s: %+v", f.Name, p)
		}
	}
	h := newTarget()
	q := h.rotate()
	q.Run.Owner = "root\x1b[2J\nrun=x " + strings.Repeat("o", 10_000)
	for _, activity := range []string{protocol.Recover, protocol.Discard} {
		if p := h.ask(t, activity, q); p != nil {
			t.Error(p)
		}
	}
	if !slices.Equal(h.wholes, []bool{false, false}) || len(h.runs[0].Owner) > 200 || strings.ContainsAny(h.runs[0].Owner, "\n\x1b") {
		t.Errorf("%+v, %v", h.runs, h.wholes)
	}
}

// A unit's own name is used once the host has said that the inventory's is an alias of it.
func TestAlias(t *testing.T) {
	h := newTarget()
	h.seen.Unit.ID = "real.service"
	q := h.rotate()
	q.Unit = "real.service"
	env := h.environment(new(bytes.Buffer))
	for _, activity := range []string{protocol.Recover, protocol.Stage} {
		if _, err := env.ExecuteActivity(activity, q); err != nil {
			t.Fatal(err)
		}
	}
	var units []string
	for _, own := range h.dialled {
		units = append(units, own.Agent.Unit)
	}
	if !slices.Equal(units, []string{unit, "real.service", "real.service"}) || !slices.Equal(h.done, []string{"recover", "discard", "stage"}) {
		t.Error(units, h.done)
	}
}
