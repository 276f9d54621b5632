package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	runID  = "20261123-084512-K3F9"
	oldSum = "old"
)

var (
	// clock is the hosts' time, and that of testing/synctest at its start.
	clock     = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	errUnsent = &problem.Error{Class: problem.Unreachable, Message: "the connection was dead"}
	errLost   = &problem.Error{Class: problem.Unreachable, Message: "the connection was lost"}
)

// newCertificate returns a certificate without a key that expires in a year.
func newCertificate(thumbprint string) *certificate.Certificate {
	return &certificate.Certificate{Leaf: certificate.Info{Thumbprint: thumbprint, NotBefore: clock.Add(-time.Hour), NotAfter: clock.AddDate(1, 0, 0)}}
}

// healthy returns the observation of a VM that is to be rotated.
func healthy() *host.Observation {
	return &host.Observation{
		Clock: clock,
		Unit: host.Unit{ID: "a.service", Type: "simple", Load: "loaded", Active: "active", Sub: "running", File: "enabled", Started: clock.Add(-time.Hour),
			StopTime: time.Second, StartTime: time.Second},
		Provider: &host.Provider{Name: "p", ClientID: "client-1", Path: "/c.p12"},
		File:     host.File{Path: "/c.p12", Real: "/c.p12", Kind: "file", Digest: oldSum, Changed: clock.Add(-48 * time.Hour)},
		Live:     &certificate.Info{Thumbprint: "OLD", NotAfter: clock.AddDate(0, 0, 20)},
		Space:    1 << 30,
	}
}

// fate is how one call of a fake host fails: before its effect, or after it.
type fate int

const (
	succeeds fate = iota
	notApplied
	applied
	unsent // of rotate: the connection was dead already
)

// fakeVM is one pretend VM behind any number of connections to it.
type fakeVM struct {
	fleet *fakeFleet
	name  string

	mu        sync.Mutex
	seen      *host.Observation
	fates     map[string]fate // by call, once each
	ending    host.Ending     // of its next transaction; "": rotated
	undoing   host.Ending     // of its next undo of a confirmed one; "": rotated
	recovery  host.Ending     // of its next Recover; "": clean
	pid       int             // that Recover reports
	changed   host.Change     // its last transaction
	calls     []string        // in order
	staged    bool            // a certificate is staged
	known     bool            // its watch excuses denied lines that were in the log before
	zip       string          // diagnostics that were gathered
	dead      bool            // accepts no connection
	pkg       host.Package    // of its agent
	fetchErr  error
	swaps     bool              // a lost transaction had replaced the file
	during    func(call string) // runs inside a call, without the lock
	onRecover func(*fakeVM)     // runs in a Recover
	dialErr   error
	stageErr  error
}

// fakeFleet counts what is open and what runs at once.
type fakeFleet struct {
	vms map[string]*fakeVM

	mu                    sync.Mutex
	open, restarting      int
	mostOpen, mostRestart int
	started               []string // rotations, in the order in which they started
	events                []Event
}

func newFakeFleet(names ...string) *fakeFleet {
	f := &fakeFleet{vms: map[string]*fakeVM{}}
	for _, name := range names {
		f.vms[name] = &fakeVM{fleet: f, name: name, seen: healthy(), fates: map[string]fate{}}
	}
	return f
}

func (f *fakeFleet) runner() *Runner {
	return &Runner{Dial: f.dial, DialUndo: f.dialUndo, RunID: runID, Events: func(e Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, e)
	}}
}

func (f *fakeFleet) targets(names ...string) []Target {
	cert := newCertificate("NEW")
	targets := make([]Target, len(names))
	for i, name := range names {
		targets[i] = Target{Host: &inventory.Host{Name: name, Agent: inventory.Agent{Unit: "a.service"}, Health: inventory.Health{Timeout: time.Second, Window: time.Second}}, Certificate: cert}
	}
	return targets
}

func (f *fakeFleet) dial(ctx context.Context, h inventory.Host) (Host, error) {
	return f.dialAs(ctx, h, runID)
}

func (f *fakeFleet) dialUndo(ctx context.Context, h inventory.Host) (Host, error) {
	return f.dialAs(ctx, h, UndoID(runID))
}

func (f *fakeFleet) dialAs(_ context.Context, h inventory.Host, run string) (Host, error) {
	vm := f.vms[h.Name]
	if err := vm.call("dial", nil); err != nil {
		return nil, err
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.dialErr != nil {
		return nil, vm.dialErr
	}
	if vm.dead {
		return nil, errLost
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	f.mostOpen = max(f.mostOpen, f.open)
	return &fakeHost{fakeVM: vm, run: run}, nil
}

// call runs effect, unless the call must fail before it.
func (v *fakeVM) call(name string, effect func()) error {
	v.mu.Lock()
	v.calls = append(v.calls, name)
	how, during := v.fates[name], v.during
	delete(v.fates, name)
	if how != notApplied && how != unsent && effect != nil {
		effect()
	}
	v.mu.Unlock()
	if during != nil {
		during(name)
	}
	switch how {
	case succeeds:
		return nil
	case unsent:
		return errUnsent
	default:
		return errLost
	}
}

func (v *fakeVM) called(name string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(v.calls), func(c string) bool { return c != name }))
}

func (v *fakeVM) receipt(state string) { v.receiptOf(runID, state) }

func (v *fakeVM) receiptOf(run, state string) {
	v.seen.Receipts = []host.Receipt{{State: state, Run: run, Owner: "o"}}
}

// fakeHost is one connection.
type fakeHost struct {
	*fakeVM
	run    string
	closed bool
}

func (h *fakeHost) Observe(ctx context.Context, options host.ObserveOptions) (seen *host.Observation, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	err = h.call("observe", func() {
		copied := *h.seen
		if !options.Command { // the command was not run
			copied.Command = ""
		}
		seen = &copied
	})
	if err != nil {
		return nil, err
	}
	return seen, nil
}

func (h *fakeHost) Stage(context.Context, []byte, string) error {
	if h.stageErr != nil {
		return h.stageErr
	}
	return h.call("stage", func() { h.staged = true })
}

func (h *fakeHost) Discard(context.Context) error {
	return h.call("discard", func() { h.staged = false })
}

func (h *fakeHost) Diagnose(_ context.Context, d host.Diagnosis) (*host.Diagnostics, error) {
	if err := h.call("diagnose", nil); err != nil {
		return nil, err
	}
	if d.To == nil {
		return &host.Diagnostics{Size: int64(len(h.zip))}, nil
	}
	if h.zip == "" {
		return nil, nil
	}
	_, err := io.WriteString(d.To, h.zip)
	d.Progress(int64(len(h.zip)), int64(len(h.zip)))
	return &host.Diagnostics{Size: int64(len(h.zip)), SHA256: "digest"}, err
}

func (h *fakeHost) MakeFolder(_ context.Context, path string) (host.File, error) {
	return host.File{Path: path, Kind: "missing", Digest: "none"}, h.call("makefolder", nil)
}

func (h *fakeHost) Package(_ context.Context, refresh bool) (p *host.Package, err error) {
	call := "package"
	if refresh {
		call = "refresh"
	}
	err = h.call(call, func() { copied := h.pkg; p = &copied })
	return p, err
}

func (h *fakeHost) Fetch(_ context.Context, c host.PackageChange) (host.PackageChange, error) {
	if h.fetchErr != nil {
		return c, h.fetchErr
	}
	c.Old, c.New = host.PackageFile{Digest: "file of " + c.From, Size: 1}, host.PackageFile{Digest: "file of " + c.To, Size: 1}
	return c, h.call("fetch", func() { h.staged = true })
}

// installs is the effect of a change with a package.
func (h *fakeHost) installs(c host.Change, ending host.Ending) {
	if c.Package.From != h.pkg.Installed || c.Package.Old.Digest != "file of "+c.Package.From || c.Package.New.Digest != "file of "+c.Package.To {
		panic(fmt.Sprintf("%+v with %+v", c.Package, h.pkg))
	}
	if ending == host.Rotated {
		h.pkg.Installed = c.Package.To
		f := host.SavedFile{Path: c.File.Path, Real: c.File.Real, Old: c.File.Digest, New: c.Digest, File: *c.File}
		f.File.Digest = c.Digest
		h.seen.Backups = append(slices.Clone(h.seen.Backups), host.Backup{Run: h.run, Old: f.Old, New: f.New, What: c.What, Files: []host.SavedFile{f}, Package: c.Package})
	}
	h.endOf(h.run, ending, h.seen.File.Digest)
}

func (h *fakeHost) Prune(context.Context) (int, error) { return 0, h.call("prune", nil) }

func (h *fakeHost) InstallHelper(context.Context) (host.Installed, error) {
	return host.Installed{}, h.call("install-helper", nil)
}

// isUndo reports whether a run undoes another one.
func isUndo(run string) bool { return strings.HasSuffix(run, UndoID("")) }

func (h *fakeHost) Rotate(ctx context.Context, c host.Change, onStep func(string)) *host.Report {
	f := h.fleet
	f.mu.Lock()
	f.restarting++
	f.mostRestart = max(f.mostRestart, f.restarting)
	f.started = append(f.started, h.name)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.restarting--; f.mu.Unlock() }()
	onStep("swap")
	ending, call := h.ending, "rotate"
	if isUndo(h.run) {
		ending, call = h.undoing, "undo"
	}
	if ending == "" {
		ending = host.Rotated
		if c.Rehearse {
			ending = host.Rehearsed
		}
	}
	err := h.call(call, func() {
		h.changed = c
		if c.Package != nil {
			h.installs(c, ending)
			return
		}
		if ending == host.Rotated {
			h.seen.Backups = append(slices.Clone(h.seen.Backups), host.Backup{Run: h.run, Old: h.seen.File.Digest, New: c.Digest})
		}
		h.endOf(h.run, ending, c.Digest)
	})
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == errUnsent {
		return &host.Report{Ending: host.Unsent, Problem: errUnsent}
	}
	if err != nil {
		report := &host.Report{Ending: host.Lost, Problem: host.AsProblem(err), Proof: "log_clean"}
		if h.swaps {
			report.Steps = []host.Step{{Name: "swap", OK: true}, {Name: "diagnostics", OK: true}}
		}
		return report
	}
	report := &host.Report{Ending: ending, Proof: "log_clean", Known: h.known, Gathered: c.Diagnose && h.zip != "" && ending != host.Rotated}
	if ending != host.Rotated {
		report.Problem = &problem.Error{Class: problem.Unhealthy, Message: "as the test wants"}
	}
	return report
}

// end sets what a transaction leaves on the host.
func (v *fakeVM) end(ending host.Ending, digest string) { v.endOf(runID, ending, digest) }

func (v *fakeVM) endOf(run string, ending host.Ending, digest string) {
	switch ending {
	case host.Rotated:
		v.receiptOf(run, "confirmed")
		v.seen.File.Digest, v.staged = digest, false
	case host.Rehearsed:
		v.staged = false
	case host.RolledBack, host.Failed:
		v.receiptOf(run, string(ending))
		v.staged = false
	}
}

func (h *fakeHost) Recover(_ context.Context, _ func(string)) *host.Report {
	f := h.fleet
	f.mu.Lock()
	f.restarting++
	f.mostRestart = max(f.mostRestart, f.restarting)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.restarting--; f.mu.Unlock() }()
	h.fakeVM.mu.Lock()
	ending, pid := h.recovery, h.pid
	h.fakeVM.mu.Unlock()
	if ending == "" {
		ending = host.Clean
	}
	err := h.call("recover", func() {
		if h.onRecover != nil {
			h.onRecover(h.fakeVM)
		}
	})
	if err != nil {
		return &host.Report{Ending: host.Lost, Problem: host.AsProblem(err)}
	}
	return &host.Report{Ending: ending, Problem: &problem.Error{Class: problem.Locked, Message: "as the test wants"}, PID: pid}
}

func (h *fakeHost) DialContext(context.Context, string, string) (net.Conn, error) {
	near, _ := net.Pipe()
	return near, h.call("forward", nil)
}

func (h *fakeHost) Close() error {
	h.fleet.mu.Lock()
	defer h.fleet.mu.Unlock()
	if h.closed {
		return errors.New("closed twice")
	}
	h.closed = true
	h.fleet.open--
	return nil
}
