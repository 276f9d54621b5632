package report

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	text "text/template"

	"github.com/aoifleet/aoifleet/internal/display"
)

// Formats lists the formats of a report's file, by the ending of its name.
var Formats = []string{"html", "md", "xml", "json"}

// Report is a result for a file, in each of the Formats.
type Report struct {
	page *Page
	json func(io.Writer) error // the document
}

// Write writes the report in one of the Formats.
func (r *Report) Write(w io.Writer, format string) error {
	switch format {
	case "html":
		return r.page.html(w)
	case "md":
		return r.page.markdown(w)
	case "xml":
		return r.page.junit(w)
	case "json":
		return r.json(w)
	}
	return fmt.Errorf("unknown format %q", format)
}

// Causes returns why hosts, or the command, are not well, the worst first.
func (r *Report) Causes() []Cause { return r.page.Causes }

// Notices returns the safeguards that are not used, and what the report does not know.
func (r *Report) Notices() []string { return r.page.Notices }

//go:embed page
var pages embed.FS

// maxMarkdown is the limit of a job summary of GitHub Actions, in bytes.
const maxMarkdown = 1 << 20

// markdown writes the page as GitHub Flavored Markdown. Where it would be too large, it lists
// fewer hosts.
func (p *Page) markdown(w io.Writer) error {
	for most := 10_000; ; most /= 4 {
		var b bytes.Buffer
		t := text.Must(text.New("report.md").Funcs(text.FuncMap{
			"code": code, "cell": cell, "fenced": fenced,
			"rows":  func(list []Row) []Row { return list[:min(len(list), most)] },
			"less":  func(n int) int { return max(0, n-most) },
			"cut":   func(list []Cause) []Cause { return list[:min(len(list), max(most, 1))] },
			"said":  func(list []Evidence) []Evidence { return list[:min(len(list), 3, most)] },
			"diffs": func(list []Diff) []Diff { return list[:min(len(list), most)] },
			"list":  func(list [][]string) [][]string { return list[:min(len(list), most)] },
		}).ParseFS(pages, "page/report.md"))
		if err := t.Execute(&b, p); err != nil {
			return err
		}
		if b.Len() <= maxMarkdown || most == 0 {
			_, err := w.Write(b.Bytes())
			return err
		}
	}
}

var backticks = regexp.MustCompile("`+")

// code returns text as a code span, in which nothing is markup, a link or a mention (GFM 6.3).
func code(s string) string {
	s = display.Sanitise(s, longLimit)
	if strings.TrimSpace(s) == "" {
		return ""
	}
	fence := "`"
	for slices.Contains(backticks.FindAllString(s, -1), fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// Text of plain characters is no markup; it is a link if it has a name with a dot, a :emoji:, a
// digest of a commit, or the number of an issue such as GH-1.
var (
	plainText = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9 ,;:.()'-]*)?$`)
	linked    = regexp.MustCompile(`[.:]\S|[A-Za-z0-9]{21}|[A-Z]+-[0-9]`)
)

// cell returns text for the cell of a table, which a | would end (GFM 4.10).
func cell(s string) string {
	s = display.Shorten(s, 400)
	if plainText.MatchString(s) && !linked.MatchString(s) {
		return s
	}
	return code(strings.ReplaceAll(s, "|", "¦"))
}

// fenced returns lines as a fenced block.
func fenced(lines []string) string {
	fence := "```"
	for _, line := range lines {
		for strings.Contains(line, fence) {
			fence += "`"
		}
	}
	var b strings.Builder
	b.WriteString(fence + "text\n")
	for _, line := range lines {
		b.WriteString(display.Sanitise(line, longLimit) + "\n")
	}
	return b.String() + fence
}
