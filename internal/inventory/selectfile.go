package inventory

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// maxNamesFile bounds a file of names, in bytes: every host of the largest fleet once, with
// the longest name.
const maxNamesFile = maxHosts * (maxName + 1)

// term returns the hosts of one term, nil if it is wrong: the reason is added to errs.
func (f *finder) term(text string, errs *Errors) []int {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		return f.byFile(path, errs)
	}
	return f.line(text, "", 0, errs)
}

// line is term for a text that names no file. It stands at a line of a file of names, if that
// is not "".
func (f *finder) line(text, file string, number int, errs *Errors) []int {
	if strings.ContainsAny(text, "*?[") {
		f.globs++
	}
	if f.globs > maxGlobs {
		return nil
	}
	found, wrong := f.find(text, len(*errs) < shownErrors)
	if wrong == nil {
		return found
	}
	wrong.File, wrong.Line = file, number
	if len(*errs) < maxErrors {
		*errs = append(*errs, *wrong)
	}
	return nil
}

// byFile returns the hosts that a file selects: on each line a name, a group, a glob or a
// label. Empty lines and what follows a "#" are comments.
func (f *finder) byFile(path string, errs *Errors) []int {
	data, err := localfile.Read(path, maxNamesFile+1)
	if err == nil && len(data) > maxNamesFile {
		err = fmt.Errorf("it is larger than %d MiB", maxNamesFile>>20)
	}
	if err != nil {
		*errs = append(*errs, Error{File: path, Message: "the file of --limit can't be read: " + localfile.Reason(err), Hint: "@FILE has a name of a host or group on each line"})
		return nil
	}
	var found []int
	wrong, number := len(*errs), 0
	for text := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		number++
		text, _, _ = strings.Cut(text, "#")
		if text = strings.TrimSpace(text); text != "" {
			found = append(found, f.line(text, path, number, errs)...)
		}
	}
	switch {
	case len(*errs) > wrong || f.globs > maxGlobs:
		return nil
	case found == nil: // must not select the whole fleet
		*errs = append(*errs, Error{File: path, Message: "the file of --limit has no name", Hint: "write the name of a host or group on each line"})
	}
	return found
}
