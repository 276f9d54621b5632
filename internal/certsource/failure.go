package certsource

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// shownProblems is the number of unusable certificates that an error lists.
const shownProblems = 20

// failure returns all problems as one error with the first hint, nil if there are none.
func (s *sources) failure() error {
	var lines []string
	if len(s.unnamed) > 0 {
		lines = append(lines, fmt.Sprintf("no certificate is named for %s: %s", inventory.HostCount(len(s.unnamed)), strings.Join(inventory.Fold(s.unnamed), ", ")))
	}
	switch {
	case len(s.problems) == 0 && len(s.refusals) > 0:
		all := *s.refusals[0]
		all.Message = strings.Join(messages(s.refusals), "\n")
		return &all
	case len(s.problems) == 0 && lines == nil:
		return nil
	case len(s.problems) == 0:
		return &problem.Error{Class: problem.Usage, Message: lines[0], Hint: "set certificate: in the inventory, or use --certificate FILE"}
	case len(s.problems) == 1 && lines == nil:
		return s.problems[0]
	}
	lines = append(lines, messages(s.problems)...)
	return &problem.Error{Class: problem.Certificate, Message: strings.Join(lines, "\n"), Hint: commonHint(s.problems)}
}

// commonHint returns the hint of the first problem, for all files where it is chmod.
func commonHint(problems []*problem.Error) string {
	const chmod = "chmod 600 "
	hint := problems[0].Hint
	if !strings.HasPrefix(hint, chmod) {
		return hint
	}
	for _, p := range problems[1:min(len(problems), shownProblems)] {
		if path, ok := strings.CutPrefix(p.Hint, chmod); ok {
			hint += " " + path
		}
	}
	return hint
}

func messages[E error](list []E) []string {
	var lines []string
	for i, e := range list {
		if i == shownProblems {
			return append(lines, fmt.Sprintf("and %d more", len(list)-i))
		}
		lines = append(lines, e.Error())
	}
	return lines
}

func sourcesOf(jobs []job) []string {
	list := make([]string, len(jobs))
	for i, job := range jobs {
		list[i] = job.source
	}
	return list
}

// andMore returns the first of several sources and the number of the others.
func andMore(sources []string) string {
	if len(sources) == 1 {
		return sources[0]
	}
	return fmt.Sprintf("%s and %d more:", sources[0], len(sources)-1)
}

// FileProblems returns what is wrong with the certificate files of hosts without reading them:
// they are no files, can't be read, or others can read them. At most shownProblems lines.
func FileProblems(hosts []inventory.Host) []string {
	var problems []*problem.Error
	done := map[string]bool{"": true}
	for _, h := range hosts {
		path := h.Certificate
		if done[path] || azurecloud.InVault(path) {
			continue
		}
		done[path] = true
		if err := localfile.Check(path); errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, problem.New(problem.Certificate, "", "%s: does not exist", display.Mask(path)))
		} else if err != nil {
			problems = append(problems, problem.New(problem.Certificate, "", "%s: can't be read: %s", display.Mask(path), localfile.Reason(err)))
		} else if p := exposed(path); p != nil {
			p.Message += "; " + p.Hint
			problems = append(problems, p)
		}
	}
	return messages(problems)
}
