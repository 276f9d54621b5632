package main

import (
	"path/filepath"
	"runtime"
	"sync"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// stateDir is where the journals of runs are kept.
func (a *app) stateDir() (string, error) { return stateDirOn(runtime.GOOS, a.getenv, a.home) }

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
			return "", &problem.Error{Class: problem.Internal, Message: "there is no place for the journals of runs: the home directory is not known", Hint: "set " + variable + " to a directory that can be written"}
		}
		base = filepath.Join(fallback...)
	}
	return filepath.Join(base, "aoifleet", "runs"), nil
}

// recorder writes a run's journal. It is safe for concurrent use. What can't be
// written is told once, and the run goes on: to stop in mid-change is worse.
type recorder struct {
	journal *journal.Journal
	say     func(line string)
	warn    sync.Once

	mu      sync.Mutex
	looking map[string]bool          // hosts that are being looked at
	planned map[string]change        // by host
	ended   map[string]journal.Entry // by host: what the journal holds of its end
}

// startJournal begins the journal of run id, which carries out a saved plan or
// none (""); say prints a line on stderr, and
// may be called from many goroutines. An error is meant for before anything is
// contacted.
func (a *app) startJournal(id, planID string, hosts []string, say func(line string)) (*recorder, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	inventory := a.inventoryFile
	if inventory != "" {
		if inventory, err = filepath.Abs(inventory); err != nil {
			return nil, err
		}
	}
	j, err := journal.Create(dir, journal.Head{
		Run: id, Command: a.verb, Tool: version, Owner: a.owner, Inventory: inventory, Plan: planID, Hosts: hosts,
	})
	if err != nil {
		return nil, &problem.Error{Class: problem.Internal, Message: "the journal of this run can't be kept, so nothing was begun: " + err.Error(),
			Hint: "make " + dir + " writable, or set XDG_STATE_HOME to a directory that is"}
	}
	return &recorder{journal: j, say: say, looking: map[string]bool{},
		planned: map[string]change{}, ended: map[string]journal.Entry{}}, nil
}

// plan records what is to be done on each host, and which hosts are at their end
// by that.
func (r *recorder) plan(p *rollout.Plan) {
	entries := make([]journal.Entry, len(p.Entries))
	r.mu.Lock()
	for i, e := range p.Entries {
		c := changeOf(e)
		r.planned[e.Host.Name] = c
		entry := journal.Entry{Event: journal.Plan, Host: e.Host.Name, Step: string(e.Action), Old: c.old, New: c.new}
		if e.Outcome != "" {
			entry = r.end(e.Host.Name, e.Outcome, e.Problem)
		}
		entries[i] = entry
	}
	r.mu.Unlock()
	r.append(entries...)
}

// change is the thumbprints of the live certificate and of the one that is to
// take its place, "" where they are not known.
type change struct{ old, new string }

func changeOf(e rollout.Entry) (c change) {
	if e.Seen != nil && e.Seen.Live != nil {
		c.old = e.Seen.Live.Thumbprint
	}
	if e.Certificate != nil {
		c.new = e.Certificate.Leaf.Thumbprint
	}
	return c
}

// event records an event. It returns when that is on disk, so that what follows
// on the host comes after it.
func (r *recorder) event(e rollout.Event) {
	if entry, ok := r.entry(e); ok {
		r.append(entry)
	}
}

// entry is what an event is in the journal; false if it is nothing: to look at
// a host changes nothing there.
func (r *recorder) entry(e rollout.Event) (journal.Entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Total > 0 { // bytes of a download
		return journal.Entry{}, false
	}
	looked := r.looking[e.Host]
	delete(r.looking, e.Host)
	switch {
	case e.Host == "": // of a wave: the hosts tell the same
		return journal.Entry{}, false
	case e.Outcome != "":
		end := r.end(e.Host, e.Outcome, e.Problem)
		end.Proof = e.Proof
		r.ended[e.Host] = end
		return end, true
	case e.Step == "observe" || e.Step == "download":
		r.looking[e.Host] = true
		return journal.Entry{}, false
	case e.Step == "":
		return journal.Entry{Event: journal.Done, Host: e.Host}, !looked
	}
	return journal.Entry{Event: journal.Step, Host: e.Host, Step: e.Step}, true
}

// end is the end of a host, which the journal is going to hold; r.mu is held.
func (r *recorder) end(name string, outcome rollout.Outcome, problem *host.Problem) journal.Entry {
	c := r.planned[name]
	e := journal.Entry{Event: journal.End, Host: name, Outcome: string(outcome), Old: c.old, New: c.new}
	if problem != nil {
		e.Class, e.Message = string(problem.Class), problem.Message
	}
	r.ended[name] = e
	return e
}

// finish records the end of the run, with what its result tells beyond the
// events, such as the proof. Nothing is recorded after it.
func (r *recorder) finish(run *rollout.Run, code int) {
	var entries []journal.Entry
	r.mu.Lock()
	for _, res := range run.Results {
		before := r.ended[res.Host.Name]
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
		r.warn.Do(func() { r.say("warning: " + err.Error() + "; what this run does from here on is not recorded") })
	}
}

// close ends the journal. A run that did not finish is unfinished by that.
func (r *recorder) close() { _ = r.journal.Close() } // all of it is on disk already
