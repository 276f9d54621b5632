package ci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSummary is how large GitHub's summary of a step may be (actions/runner,
// CreateStepSummaryCommand). Of a larger one nothing is shown.
const maxSummary = 1 << 20

// cutNote ends a summary of which a part is left out.
const cutNote = "\n\nThe rest is left out: the summary of a step is limited to 1 MiB.\n"

// Summary adds a Markdown text to the page of the run. It returns the line to print for
// that, "" if there is none. The id makes the name of a file unique.
func (s System) Summary(getenv func(string) string, id, markdown string) (line string, err error) {
	switch s {
	case GitHub:
		if path := getenv("GITHUB_STEP_SUMMARY"); path != "" {
			return "", appendTo(path, markdown)
		}
	case Azure: // the agent removes the folder after the job
		dir := getenv("AGENT_TEMPDIRECTORY")
		if dir == "" {
			return "", nil
		}
		path := filepath.Join(dir, "aoifleet-"+id+".md")
		if err := os.WriteFile(path, []byte(markdown), 0o600); err != nil {
			return "", err
		}
		return "##vso[task.uploadsummary]" + strings.ReplaceAll(escape(path, "%\r\n"), "%25", "%AZP25"), nil
	}
	return "", nil
}

// appendTo appends what fits to the summary of a step, to which other commands of it add too.
func appendTo(path, markdown string) (err error) {
	info, err := os.Stat(path) // the runner has made it; to open a pipe would wait for its reader
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.WriteString(f, fitting(markdown+"\n", maxSummary-int(min(info.Size(), maxSummary))))
	return err
}

// fitting returns the first whole lines of text, and a note that says so if it is cut.
func fitting(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	room := limit - len(cutNote)
	if room < 0 {
		return ""
	}
	return text[:strings.LastIndexByte(text[:room], '\n')+1] + cutNote
}
