package fleet

import (
	"cmp"
	"context"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Pins says which keys of the agents' SFTP servers the hosts should know.
type Pins struct {
	Server       string   // HOST, or HOST:PORT; "": every server
	Fingerprints []string // of the keys, SHA256:…; none: all that a server shows
}

// PinHostKeys gets the keys of the servers, which each host connects to, and has the hosts'
// known_hosts files compared with them. The network of a host may not lead to the right server:
// without fingerprints, an operator has to compare the keys before a host is changed.
func (f *Fleet) PinHostKeys(ctx context.Context, pins Pins) {
	shown := map[string]Inspected{}
	for _, found := range f.Inspect(ctx, true) {
		shown[found.Host.Name] = found
	}
	f.runner.Want = func(t *rollout.Target, seen *host.Observation) { wantHostKeys(t, seen, pins, shown[t.Host.Name]) }
}

// wantHostKeys sets the known_hosts files that a target should have. The first observation tells
// where they are, the second what is in them.
func wantHostKeys(t *rollout.Target, seen *host.Observation, pins Pins, shown Inspected) {
	t.FilesOnly, t.Bytes, t.Files, t.Paths = true, true, nil, nil
	servers, wrong := pins.servers(seen.Config)
	if wrong != nil {
		wrong = cmp.Or(seen.Unnamed, wrong)
	}
	if wrong = cmp.Or(host.HelperProblem(*t.Host), wrong); wrong != nil {
		t.Files = []rollout.Wanted{{What: rollout.HostKeys + cmp.Or(pins.Server, "every server"), Problem: wrong}}
		return
	}
	for _, s := range servers {
		at := slices.Index(t.Paths, s.KnownHosts)
		if at < 0 {
			at = len(t.Files)
			t.Paths, t.Files = append(t.Paths, s.KnownHosts), append(t.Files, knownHosts(seen, s.KnownHosts))
		}
		w := &t.Files[at]
		if w.What != rollout.HostKeys {
			w.What += ", "
		}
		w.What += s.String()
		keys, wrong := pins.keys(s, shown)
		if w.Problem = cmp.Or(w.Problem, wrong); w.Problem == nil {
			w.Problem = pin(w, s, keys)
		}
	}
}

// knownHosts returns a known_hosts file as it is; a first one is root's, and all can read it.
func knownHosts(seen *host.Observation, path string) rollout.Wanted {
	now := seen.Content(path)
	w := rollout.Wanted{What: rollout.HostKeys, Seen: now.File, Data: now.Data}
	switch {
	case now.File.Path == "" && len(seen.Contents) > 0:
		w.Problem = problem.New(problem.Drift, "run this again", "the agent's configuration changed while it was read")
	case now.File.Path == "": // not observed yet
	case now.File.Kind == "missing":
		w.Owner, w.Mode, w.Problem = "root:root", "644", now.Problem()
	default:
		w.Problem = now.Problem()
	}
	return w
}

// servers returns those of an agent that are meant.
func (p Pins) servers(config host.AgentConfig) (list []host.Server, wrong *problem.Error) {
	var names []string
	for _, s := range config.Servers {
		name := display.Sanitise(s.String(), 200)
		names = append(names, name)
		switch {
		case p.Server != "" && !strings.EqualFold(p.Server, s.Host) && !strings.EqualFold(p.Server, s.String()):
		case !s.Usable():
			return nil, problem.New(problem.Configuration, "see server in the agent's configuration", "the source on %s has no valid host, port or known_hosts_file", name)
		default:
			list = append(list, s)
		}
	}
	switch {
	case len(names) == 0:
		return nil, problem.New(problem.Configuration, "leave the host out with --limit", "the agent has no SFTP source")
	case len(list) == 0:
		return nil, problem.New(problem.Configuration, "name one of them, or leave the host out with --limit", "the agent has no SFTP source on %s; its servers are %s", p.Server, listed(names))
	}
	return list, nil
}

// keys returns the keys of a server that a host should know.
func (p Pins) keys(s host.Server, shown Inspected) ([]remote.HostKey, *problem.Error) {
	at := slices.IndexFunc(shown.Reached, func(r host.Reached) bool { return r.Endpoint == s.Endpoint })
	switch {
	case at < 0 && shown.Err != nil:
		return nil, host.AsProblem(shown.Err)
	case at < 0:
		return nil, problem.New(problem.Drift, "run this again", "the agent's configuration changed while it was read")
	case shown.Reached[at].Err != nil:
		return nil, host.AsProblem(shown.Reached[at].Err)
	}
	keys, shows := shown.Reached[at].Keys, []string{}
	if len(p.Fingerprints) == 0 {
		return keys, nil
	}
	var pinned []remote.HostKey
	for _, k := range keys {
		shows = append(shows, k.Type+" "+k.Fingerprint)
		if slices.Contains(p.Fingerprints, k.Fingerprint) {
			pinned = append(pinned, k)
		}
	}
	if len(pinned) == 0 {
		return nil, problem.New(problem.Configuration, "this may be an attack: ask the server's operator; for one server of several, name it",
			"%s shows the host no key with a fingerprint of --fingerprint; it shows %s", s, listed(shows))
	}
	return pinned, nil
}

// pin sets the keys of a server in w, with what an operator has to see before.
func pin(w *rollout.Wanted, s host.Server, keys []remote.HostKey) *problem.Error {
	c, wrong := remote.SetKnownHosts(w.Data, s.KnownName(), keys)
	path := display.Sanitise(s.KnownHosts, 400)
	switch {
	case wrong != nil:
		return problem.New(wrong.Class, wrong.Hint, "%s, %s: %s", s, path, wrong.Message)
	case len(c.Text) > host.MaxFile:
		return problem.New(problem.Configuration, "remove lines that no one needs", "%s would be larger than 1 MiB", path)
	case len(c.Added)+len(c.Replaced) == 0:
		return nil
	}
	w.Data = c.Text
	if w.Diff == "" {
		w.Diff = path + "\n"
	}
	// Both are shown in the plan, with the keys, and as notes of the result.
	remark := func(text string) { w.Diff, w.Remarks = w.Diff+text+"\n", append(w.Remarks, text) }
	if c.Suspect() {
		remark("WARNING: THE HOST KEY OF " + s.String() + " HAS CHANGED! This may be an attack: ask the server's operator for the new fingerprint")
	}
	for _, key := range c.Replaced {
		w.Diff += "- " + s.String() + " " + key + "\n"
	}
	for _, key := range c.Added {
		w.Diff += "+ " + s.String() + " " + key + "\n"
	}
	if len(c.Kept) > 0 {
		remark("it also has " + listed(c.Kept) + " of " + s.String() + ", which stays: remove it if the server no longer has it")
	}
	return nil
}

var aFingerprint = regexp.MustCompile("^SHA256:[A-Za-z0-9+/]{43}$")

// Check returns an error if a server or a fingerprint can't be one.
func (p Pins) Check() error {
	name := p.Server
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if p.Server != "" && !(host.Endpoint{Host: name, Port: 22}).Valid() {
		return usage(display.Quote(p.Server, 60)+" is no server", "name it as in the agent's configuration: HOST, or HOST:PORT")
	}
	for _, text := range p.Fingerprints {
		if !aFingerprint.MatchString(text) {
			return usage(display.Quote(text, 60)+" is not the SHA-256 fingerprint of a key", "ssh-keygen -lf KEY.pub prints it: SHA256: and 43 characters")
		}
	}
	return nil
}
