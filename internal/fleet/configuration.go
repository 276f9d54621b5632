package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/configuration"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Configuration is how the agents' configurations are to change.
type Configuration struct {
	Edits []string // expressions of yq for each agent's own file
	Files bool     // the files and templates that the inventory names
	Alone bool     // the certificates stay
	// Version is the version of the agent's package that is installed in the same change: a whole
	// one, or without its epoch and release; "": the package stays.
	Version string
}

// wanted reports whether the agents' configurations are read, to change or to stay with a package.
func (c Configuration) wanted() bool { return c.Files || len(c.Edits) > 0 || c.Version != "" }

// SavedConfiguration returns how a saved plan changes the configurations.
func SavedConfiguration(saved *planfile.Plan) Configuration {
	return Configuration{Edits: saved.Edits, Files: saved.Configuration, Alone: saved.Command != "", Version: saved.To}
}

// command returns the command that carries the change out, as a saved plan has it; "": rotate.
func (c Configuration) command() string {
	switch {
	case c.Version != "":
		return "upgrade"
	case c.Alone:
		return "configure"
	}
	return ""
}

// IsTemplate reports whether a file of agent.configuration is a template.
func IsTemplate(path string) bool { return strings.HasSuffix(path, ".tmpl") }

// configurations makes the new configuration of each agent.
type configurations struct {
	edit      *configuration.Edit                // nil: the inventory's files
	stays     bool                               // as it is on the host
	files     map[string][]byte                  // by path
	templates map[string]*configuration.Template // by path
	force     bool                               // also with errors
}

// readConfigurations reads what the new configurations are made of. All problems are one error.
func (f *Fleet) readConfigurations() error {
	wanted := f.request.Configuration
	if !wanted.wanted() {
		return nil
	}
	f.next = &configurations{files: map[string][]byte{}, templates: map[string]*configuration.Template{}}
	var named []string
	for _, t := range f.Targets {
		if t.Host.Agent.Configuration != "" {
			named = append(named, t.Host.Name)
		}
	}
	switch {
	case len(wanted.Edits) == 0 && !wanted.Files:
		f.next.stays = true
		return nil
	case len(wanted.Edits) > 0 && len(named) > 0:
		return usage("the inventory has the configuration of "+listed(inventory.Fold(named))+" (agent.configuration): an edit on the host would be lost with the next change", "edit that file, then use it without --edit")
	case len(wanted.Edits) > 0:
		edit, err := configuration.ParseEdit(wanted.Edits...)
		f.next.edit = edit
		return err
	case len(named) == 0:
		return usage("no configuration is named for any selected host", "name files with agent.configuration in the inventory; configure, rotate and upgrade can also change each agent's own file: --edit EXPRESSION")
	}
	var problems []string
	for _, t := range f.Targets {
		if err := f.next.read(t.Host.Agent.Configuration); err != nil && !slices.Contains(problems, err.Error()) {
			problems = append(problems, err.Error())
		}
	}
	if n := len(problems) - mostProblems; n > 0 {
		problems = append(problems[:mostProblems], fmt.Sprintf("and %d more", n))
	}
	if len(problems) > 0 {
		return usage(strings.Join(problems, "\n"), "correct these files; agent.configuration in the inventory names them")
	}
	return nil
}

// mostProblems is how many unusable files an error lists.
const mostProblems = 20

// read reads a file of the inventory, once.
func (c *configurations) read(path string) error {
	if path == "" || c.files[path] != nil || c.templates[path] != nil {
		return nil
	}
	data, err := localfile.Read(path, configuration.MaxSize+1)
	switch {
	case err != nil:
		return fmt.Errorf("%s can't be read: %s", display.Mask(path), localfile.Reason(err))
	case len(data) > configuration.MaxSize:
		return fmt.Errorf("%s is larger than 1 MiB", display.Mask(path))
	case IsTemplate(path):
		c.templates[path], err = configuration.ParseTemplate(path, data)
		return err
	}
	c.files[path] = append([]byte{}, data...)
	return nil
}

// make returns the new configuration of a host.
func (c *configurations) make(h *inventory.Host, old *host.Content) ([]byte, error) {
	path := h.Agent.Configuration
	switch {
	case (c.edit != nil || c.stays) && old.Data == nil:
		return nil, problem.New(problem.Configuration, "is the agent installed? set agent.config in the inventory", "the agent has no configuration: %s", display.Sanitise(old.File.Path, 400))
	case c.edit != nil:
		return c.edit.Apply(old.Data)
	case c.stays:
		return old.Data, nil
	case path == "":
		return nil, problem.New(problem.Configuration, "set agent.configuration in the inventory, or leave the host out with --limit", "no configuration is named for this host")
	case c.templates[path] != nil:
		return c.templates[path].Execute(configuration.Host{Name: h.Name, Address: h.Address, Labels: h.Labels})
	}
	return c.files[path], nil
}

// want is rollout.Runner.Want: it sets the configuration that a target should have.
func (f *Fleet) want(t *rollout.Target, seen *host.Observation) {
	t.Files, t.FilesOnly, t.Next, t.Provider = nil, f.request.Configuration.Alone, nil, nil
	old := seen.Configuration
	if old == nil {
		old = &host.Content{} // an observation without it is an error
	}
	w := rollout.Wanted{What: "configuration", Seen: old.File, Problem: cmp.Or(host.HelperProblem(*t.Host), old.Problem())}
	if w.Problem == nil {
		data, err := f.next.make(t.Host, old)
		if w.Problem = problemOf(err); w.Problem == nil {
			w.Data = append([]byte{}, data...) // not nil, which would leave the file as it is
		}
	}
	if w.Problem == nil && w.Changes() {
		w.Diff = configuration.Diff(old.File.Path, old.Data, w.Data)
		f.judge(&w, added(configuration.Lint(w.Data), configuration.Lint(old.Data)))
		f.judge(&w, configuration.Dangers(old.Data, w.Data))
	}
	if w.Data != nil {
		next, provider, err := host.ReadConfig(w.Data, t.Host.Agent)
		if t.Next, t.Provider = &next, provider; !t.FilesOnly {
			w.Problem = cmp.Or(w.Problem, problemOf(err))
		}
	}
	t.Files = []rollout.Wanted{w}
}

// problemOf returns an error as a problem; nil: there is none.
func problemOf(err error) *problem.Error {
	if err == nil {
		return nil
	}
	return host.AsProblem(err)
}

// compare finds what is wrong between the configurations that the hosts will have. A danger that
// there is already between those on the hosts is not one of the change.
func (f *Fleet) compare(looks []rollout.Look) {
	if f.next == nil {
		return
	}
	var before, after []configuration.Named
	places := map[string]int{}
	for i, t := range f.Targets {
		if seen := looks[i].Seen; seen != nil && seen.Configuration != nil && len(t.Files) > 0 && t.Files[0].Data != nil {
			places[t.Host.Name] = i
			before = append(before, configuration.Named{Name: t.Host.Name, Data: seen.Configuration.Data})
			after = append(after, configuration.Named{Name: t.Host.Name, Data: t.Files[0].Data})
		}
	}
	for _, finding := range added(configuration.Fleet(after), configuration.Fleet(before)) {
		for _, name := range append([]string{finding.File}, finding.Others...) {
			if i, known := places[name]; known && f.Targets[i].Files[0].Changes() {
				f.judge(&f.Targets[i].Files[0], []configuration.Finding{finding})
			}
		}
	}
}

// added returns the findings about new files without the notes and dangers that the old ones have
// too. An error stays one: the agent may not start with it, whoever made it.
func added(list, old []configuration.Finding) []configuration.Finding {
	return slices.DeleteFunc(list, func(now configuration.Finding) bool {
		return now.Level != configuration.Error && slices.ContainsFunc(old, func(was configuration.Finding) bool {
			return was.Level == now.Level && was.File == now.File && was.Key == now.Key && was.Message == now.Message && slices.Equal(was.Others, now.Others)
		})
	})
}

// judge adds findings to a file: to why it must not be installed, or, if they only need the
// operator's attention or --force is given, to its remarks.
func (f *Fleet) judge(w *rollout.Wanted, findings []configuration.Finding) {
	for _, it := range findings {
		text := sentence(it)
		switch {
		case it.Level == configuration.Note || f.next.force:
			w.Remarks = append(w.Remarks, string(it.Level)+": "+text)
		case w.Problem == nil:
			w.Problem = &problem.Error{Class: problem.Configuration, Message: string(it.Level) + " in the new configuration: " + text,
				Hint: "nothing was changed on any host: correct it, or --force"}
		case len(w.Problem.Message) < mostFindings:
			w.Problem.Message += "; " + string(it.Level) + ": " + text
		}
	}
}

// mostFindings is about how many bytes of findings a host's problem has.
const mostFindings = 4000

// sentence returns a finding as text.
func sentence(it configuration.Finding) string {
	text := it.Message
	if it.Key != "" {
		text = it.Key + ": " + text
	}
	if it.Line > 0 {
		text = fmt.Sprintf("line %d:%d: %s", it.Line, max(it.Column, 1), text)
	}
	if len(it.Others) > 0 {
		text += " (" + listed(inventory.Fold(append([]string{it.File}, it.Others...))) + ")"
	}
	if it.Hint != "" {
		text += " [" + it.Hint + "]"
	}
	return text
}
