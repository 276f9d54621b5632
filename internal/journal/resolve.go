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

// NoRunError says that an id matches no run, or several. As a *problem.Error it has
// the class usage and a hint.
type NoRunError struct {
	ID         string
	Candidates []string // the runs that match, newest first; nil for none
}

// Error names up to five of the candidates.
func (e *NoRunError) Error() string {
	const shown = 5
	switch n := len(e.Candidates); {
	case n > shown:
		return fmt.Sprintf("%q matches %d runs: %s, …", e.ID, n, strings.Join(e.Candidates[:shown], ", "))
	case n > 0:
		return fmt.Sprintf("%q matches %d runs: %s", e.ID, n, strings.Join(e.Candidates, ", "))
	case e.ID == last:
		return "there is no run yet"
	}
	return fmt.Sprintf("there is no run %q", e.ID)
}

// Unwrap returns the error as a *problem.Error with a hint.
func (e *NoRunError) Unwrap() error {
	return problem.New(problem.Usage, "see: aoifleet runs list", "%s", e.Error())
}

// last stands for the newest run.
const last = "last"

// Resolve returns the full id of the one run in dir whose id is id, or starts or ends
// with it; case does not matter. "last" is the newest run. If no run or more than one
// matches, the error is a [*NoRunError].
func Resolve(dir, id string) (string, error) {
	ids, err := list(dir)
	if err != nil {
		return "", err
	}
	return Match(ids, id)
}

// Match is Resolve among ids, newest first.
func Match(ids []string, id string) (string, error) {
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

// list returns the ids of all journals in dir, newest first. A missing dir has none;
// files with other names are ignored.
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
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		written[id] = info.ModTime()
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		const second = len("20261123-084512")
		// Of two runs in the same second, the file written last is the newer.
		return cmp.Or(-strings.Compare(a[:second], b[:second]), -written[a].Compare(written[b]), -strings.Compare(a, b))
	})
	return ids, nil
}

// IsID reports whether text is a complete run id.
func IsID(text string) bool { return idPattern.MatchString(text) }
