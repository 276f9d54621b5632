package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// NoRunError tells that an id names no run, or several.
type NoRunError struct {
	ID         string
	Candidates []string // the runs that it may mean, the newest first
}

func (e *NoRunError) Error() string {
	const shown = 5
	switch n := len(e.Candidates); {
	case n > shown:
		return fmt.Sprintf("%q may be any of %d runs: %s, …", e.ID, n, strings.Join(e.Candidates[:shown], ", "))
	case n > 0:
		return fmt.Sprintf("%q may be any of %d runs: %s", e.ID, n, strings.Join(e.Candidates, ", "))
	case e.ID == last:
		return "there is no run yet"
	}
	return fmt.Sprintf("there is no run %q", e.ID)
}

// Unwrap returns the same as a *problem.Error, with what to do.
func (e *NoRunError) Unwrap() error {
	return problem.New(problem.Usage, "see: aoifleet runs list", "%s", e.Error())
}

// last is the name of the newest run.
const last = "last"

// Resolve returns the full id of the run that a person means: id itself, the one
// run whose id begins or ends with it, in either case, or "last" for the newest.
// If there is none, or more than one: [*NoRunError].
func Resolve(dir, id string) (string, error) {
	ids, err := list(dir)
	if err != nil {
		return "", err
	}
	upper := strings.ToUpper(id)
	switch {
	case id == last && len(ids) > 0:
		return ids[0], nil
	case id == "":
		return "", &NoRunError{ID: id}
	case slices.Contains(ids, upper):
		return upper, nil
	}
	meant := slices.DeleteFunc(ids, func(have string) bool {
		return !strings.HasPrefix(have, upper) && !strings.HasSuffix(have, upper)
	})
	if len(meant) == 1 {
		return meant[0], nil
	}
	return "", &NoRunError{ID: id, Candidates: meant}
}

// list returns the ids of all journals in dir, the newest first; a dir that does
// not exist has none. Files of other names are not ours.
func list(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	written := map[string]time.Time{}
	var ids []string
	for _, file := range files {
		id, ok := strings.CutSuffix(file.Name(), extension)
		if !ok || !idPattern.MatchString(id) {
			continue
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		written[id] = info.ModTime()
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		const second = len("20261123-084512")
		// Of two runs in one second the one that was written last is newer.
		return cmp.Or(-strings.Compare(a[:second], b[:second]), -written[a].Compare(written[b]), -strings.Compare(a, b))
	})
	return ids, nil
}

// IsID tells whether text is a whole run id.
func IsID(text string) bool { return idPattern.MatchString(text) }
