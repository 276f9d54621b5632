package fleet

import (
	"path/filepath"
	"runtime"
	"sync"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// StateDir returns the folder with the journals of runs; home is the user's, or "".
// The folder need not exist.
func StateDir(getenv func(string) string, home string) (string, error) {
	return stateDirOn(runtime.GOOS, getenv, home)
}

// stateDirOn follows the XDG Base Directory Specification, also on macOS: a
// relative XDG_STATE_HOME is invalid and ignored. Windows has LocalAppData.
func stateDirOn(goos string, getenv func(string) string, home string) (string, error) {
	base, variable := getenv("XDG_STATE_HOME"), "XDG_STATE_HOME"
	fallback := []string{home, ".local", "state"}
	if goos == "windows" {
		base, variable = getenv("LocalAppData"), "LocalAppData"
		fallback = []string{home, "AppData", "Local"}
	}
	if !filepath.IsAbs(base) {
		if home == "" {
			return "", usage("no folder for the journals of runs: the home directory is unknown", "set "+variable+" to a writable directory")
		}
		base = filepath.Join(fallback...)
	}
	return filepath.Join(base, "aoifleet", "runs"), nil
}

// recorder writes a run's journal. It is safe for concurrent use. A failed write is
// reported once, and the run continues: to stop in the middle of a change is worse.
type recorder struct {
	journal *journal.Journal
	say     func(line string)
	warn    sync.Once

	mu      sync.Mutex
	checked map[string]bool          // hosts that are being checked
	planned map[string]change        // by host
	ended   map[string]journal.Entry // by host: its last end in the journal
}

// startJournal starts the journal of this run, before any host is contacted.
func (f *Fleet) startJournal(o Options) error {
	dir, err := StateDir(f.caller.Getenv, f.caller.Home)
	if err != nil {
		return err
	}
	inventory := f.request.Inventory
	if inventory != "" {
		if inventory, err = filepath.Abs(inventory); err != nil {
			return err
		}
	}
	head := journal.Head{Run: f.run.ID, Command: f.caller.Command, Tool: f.caller.Version, Owner: f.caller.Owner,
		Inventory: inventory, Plan: f.PlanID, IgnoreWindow: o.IgnoreWindow, Hosts: f.names()}
	if f.request.Engine != nil { // which is asked, not this process
		head.Engine = f.request.Engine.URL.String()
	}
	f.record, err = newRecorder(dir, head, f.caller.Say)
	if err == nil && f.request.Engine == nil {
		f.listen(dir)
	}
	return err
}

func noJournal(dir string, err error) error {
	return usage("cannot create the journal of this run, so no host was contacted: "+localfile.Named(err),
		"make "+dir+" writable, or set XDG_STATE_HOME to a writable directory")
}

// warnings returns what would stop a rotation on this workstation but does not stop a plan.
func (f *Fleet) warnings() []rollout.Warning {
	dir, err := StateDir(f.caller.Getenv, f.caller.Home)
	if err == nil {
		if cause := journal.Check(dir); cause != nil {
			err = noJournal(dir, cause)
		}
	}
	if err == nil {
		return nil
	}
	p := problem.As(err)
	return []rollout.Warning{{Name: rollout.NoJournal, Message: "rotate would stop: " + p.Message + "; " + p.Hint}}
}

// newRecorder creates a journal in dir. say prints a line for the operator and may be called
// from many goroutines.
func newRecorder(dir string, head journal.Head, say func(line string)) (*recorder, error) {
	create := journal.Create
	if head.Engine != "" { // a run of this workstation, if it is the one that it began
		create = journal.Reopen
	}
	j, err := create(dir, head)
	if err != nil {
		return nil, noJournal(dir, err)
	}
	return &recorder{journal: j, say: say, checked: map[string]bool{},
		planned: map[string]change{}, ended: map[string]journal.Entry{}}, nil
}

// plan records the action for each host, and the end of hosts without one.
func (r *recorder) plan(p *rollout.Plan) {
	entries := make([]journal.Entry, len(p.Entries))
	r.mu.Lock()
	for i, e := range p.Entries {
		c := changeOf(e)
		r.planned[e.Host.Name] = c
		entry := journal.Entry{Event: journal.Plan, Host: e.Host.Name, Step: string(e.Action), Old: c.old, New: c.new, From: c.from, To: c.to, Site: c.site, Wave: c.wave}
		if e.Outcome != "" {
			entry = r.end(e.Host.Name, e.Outcome, e.Problem)
		}
		entries[i] = entry
	}
	r.mu.Unlock()
	r.append(entries...)
}

// change is what is planned for a host: the thumbprints of the live certificate and of its
// replacement, "" if unknown, the versions of its package, "" if that stays, and its wave, 0 if it
// is in none.
type change struct {
	old, new, from, to, site string
	wave                     int
}

func changeOf(e rollout.Entry) (c change) {
	c.site, c.wave = e.Host.Site(), e.Wave
	if e.Seen != nil && e.Seen.Live != nil {
		c.old = e.Seen.Live.Thumbprint
	}
	if e.Certificate != nil {
		c.new = e.Certificate.Leaf.Thumbprint
	}
	if e.Package.Installs() {
		c.from, c.to = e.Package.Change.From, e.Package.Change.To
	}
	return c
}

// event records an event. It returns when the entry is on disk, before the step starts on
// the host.
func (r *recorder) event(e rollout.Event) {
	if entry, ok := r.entry(e); ok {
		r.append(entry)
	}
}

// entry returns the journal's entry of an event; false if it records none, because to check
// a host changes nothing there.
func (r *recorder) entry(e rollout.Event) (journal.Entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Total > 0 { // bytes of a download
		return journal.Entry{}, false
	}
	checked := r.checked[e.Host]
	delete(r.checked, e.Host)
	switch {
	case e.Host == "": // of a wave: the hosts' events say the same
		return journal.Entry{}, false
	case e.Outcome != "":
		end := r.end(e.Host, e.Outcome, e.Problem)
		end.Proof = e.Proof
		r.ended[e.Host] = end
		return end, true
	case e.Step == "observe" || e.Step == "download":
		r.checked[e.Host] = true
		return journal.Entry{}, false
	case e.Step == "":
		return journal.Entry{Event: journal.Done, Host: e.Host}, !checked
	}
	return journal.Entry{Event: journal.Step, Host: e.Host, Step: e.Step}, true
}

// end returns the entry for the end of a host, and keeps it; r.mu is held.
func (r *recorder) end(name string, outcome rollout.Outcome, problem *problem.Error) journal.Entry {
	c := r.planned[name]
	e := journal.Entry{Event: journal.End, Host: name, Outcome: string(outcome), Old: c.old, New: c.new, From: c.from, To: c.to, Site: c.site, Wave: c.wave}
	if problem != nil {
		e.Class, e.Message, e.Hint = string(problem.Class), problem.Message, problem.Hint
	}
	r.ended[name] = e
	return e
}

// finish records the end of the run, with what its result has beyond the events,
// such as the proof. Only a notification that failed is recorded after it.
func (r *recorder) finish(run *rollout.Run, code int) {
	var entries []journal.Entry
	r.mu.Lock()
	for _, res := range run.Results {
		before := r.ended[res.Host.Name]
		c := r.planned[res.Host.Name]
		c.wave = res.Wave // another host may have taken the canary's place
		r.planned[res.Host.Name] = c
		e := r.end(res.Host.Name, res.Outcome, res.Problem)
		if e.Proof = res.Proof; e != before && res.Outcome != "" {
			entries = append(entries, e)
		}
	}
	r.mu.Unlock()
	r.append(append(entries, journal.Entry{Event: journal.Finish, Exit: &code})...)
}

func (r *recorder) append(entries ...journal.Entry) {
	if err := r.journal.Append(entries...); err != nil {
		r.warn.Do(func() { r.say("warning: " + err.Error() + "; the rest of this run is not recorded") })
	}
}

// close closes the journal. Its entries are on disk already.
func (r *recorder) close() { _ = r.journal.Close() }
