// Package ci writes what the system that runs a pipeline understands: groups, annotations
// and a summary. It also keeps what is printed from being a command of that system.
package ci

import (
	"fmt"
	"strings"
	"time"
)

// System is what runs the pipeline.
type System string

// The systems, as --ci names them.
const (
	None   System = "none"
	GitHub System = "github" // GitHub Actions
	Azure  System = "azure"  // Azure Pipelines
	GitLab System = "gitlab" // GitLab CI/CD
)

// Systems are all of them.
var Systems = []System{None, GitHub, Azure, GitLab}

// marks have the variable by which a job recognises its system; its value is true.
var marks = []struct {
	name   string
	system System
}{{"GITHUB_ACTIONS", GitHub}, {"TF_BUILD", Azure}, {"GITLAB_CI", GitLab}}

// Detect returns the system that runs this process.
func Detect(getenv func(string) string) System {
	for _, mark := range marks {
		if strings.EqualFold(getenv(mark.name), "true") {
			return mark.system
		}
	}
	return None
}

// Group returns the lines before and after a part of the log that the system can fold, ""
// if there are none. Its name is unique in the log of a job.
func (s System) Group(name, title string, at time.Time) (begin string, end func(time.Time) string) {
	title = neutral(oneLine(title))
	switch s {
	case GitHub: // "Workflow commands"
		return "::group::" + escape(title, "%\r\n"), fixed("::endgroup::")
	case Azure: // "Formatting commands"
		return "##[group]" + title, fixed("##[endgroup]")
	case GitLab: // "Job logs", "Custom collapsible sections"
		return fmt.Sprintf("section_start:%d:%s\r\x1b[0K%s", at.Unix(), name, title),
			func(at time.Time) string { return fmt.Sprintf("section_end:%d:%s\r\x1b[0K", at.Unix(), name) }
	}
	return "", fixed("")
}

func fixed(text string) func(time.Time) string { return func(time.Time) string { return text } }

// Level is how serious an annotation is.
type Level string

// The levels.
const (
	Error   Level = "error"
	Warning Level = "warning"
)

// Annotation returns the line that shows a text on the page of the run, "" if the system has
// none.
func (s System) Annotation(level Level, title, text string) string {
	title, text = neutral(oneLine(title)), neutral(text)
	switch s {
	case GitHub:
		return fmt.Sprintf("::%s title=%s::%s", level, escape(title, "%\r\n:,"), escape(text, "%\r\n"))
	case Azure:
		return fmt.Sprintf("##vso[task.logissue type=%s]%s", level, strings.ReplaceAll(escape(title+": "+text, "%\r\n"), "%25", "%AZP25"))
	}
	return ""
}

// escape returns text with each of some characters as the system decodes it.
func escape(text, which string) string {
	var out strings.Builder
	for _, c := range text {
		if strings.ContainsRune(which, c) {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteRune(c)
		}
	}
	return out.String()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
