package report

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	markdownLink = regexp.MustCompile(`\[([^\]]*)\]\([^)\s]*\)`)
	markdownWord = regexp.MustCompile("`([^`]*)`|\\*{1,2}([^*`]+)\\*{1,2}")
	markdownItem = regexp.MustCompile(`^([-*]|[0-9]+\.) +`)
)

// Markdown prints a document of this repository for a terminal of that many columns: its
// paragraphs, lists, tables and code. Of a table's row the first cell becomes a line and the
// last the text below it.
func Markdown(w io.Writer, document string, columns int) {
	m := &markdown{w: w, columns: columns}
	for line := range strings.Lines(document) {
		m.line(strings.TrimRight(line, "\n"))
	}
	m.flush()
}

type markdown struct {
	w       io.Writer
	columns int
	text    []string // the paragraph's lines so far
	fenced  bool
	header  []string // of the table; nil outside
}

func (m *markdown) line(line string) {
	table := strings.HasPrefix(line, "|") && !m.fenced
	if !table {
		m.header = nil
	}
	switch {
	case strings.HasPrefix(line, "```"):
		m.flush()
		m.fenced = !m.fenced
	case m.fenced:
		fmt.Fprintln(m.w, strings.TrimRight("    "+line, " "))
	case m.text == nil && strings.HasPrefix(line, "    "): // an indented block of code
		fmt.Fprintln(m.w, line)
	case line == "":
		m.flush()
		fmt.Fprintln(m.w)
	case strings.HasPrefix(line, "#"):
		m.flush()
		fmt.Fprintln(m.w, strings.ToUpper(plainMarkdown(strings.TrimLeft(line, "# "))))
	case table:
		m.row(line)
	default:
		if markdownItem.MatchString(line) {
			m.flush()
		}
		m.text = append(m.text, strings.TrimSpace(line))
	}
}

// row prints the row of a table: the first cell, those between with their column's name in
// parentheses, and the last one below.
func (m *markdown) row(line string) {
	const pipe = "\x00" // stands for \| , which ends no cell
	cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, pipe), "| "), "|")
	for i := range cells {
		cells[i] = plainMarkdown(strings.ReplaceAll(strings.TrimSpace(cells[i]), pipe, "|"))
	}
	last := len(cells) - 1
	switch {
	case m.header == nil:
		m.flush()
		m.header = cells
		return
	case strings.Trim(line, "|-: ") == "" || last >= len(m.header):
		return
	}
	head := cells[0]
	for i := 1; i < last; i++ {
		if cells[i] != "" {
			head += fmt.Sprintf(" (%s: %s)", m.header[i], cells[i])
		}
	}
	m.wrap(2, head)
	if last > 0 {
		m.wrap(6, cells[last])
	}
}

// flush prints the paragraph.
func (m *markdown) flush() {
	if m.text != nil {
		m.wrap(0, plainMarkdown(strings.Join(m.text, " ")))
	}
	m.text = nil
}

// wrap prints text within the columns.
func (m *markdown) wrap(indent int, text string) {
	width, line := max(m.columns-indent, 20), ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(m.w, strings.Repeat(" ", indent)+line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	fmt.Fprintln(m.w, strings.Repeat(" ", indent)+line)
}

// plainMarkdown returns text without its markup.
func plainMarkdown(text string) string {
	text = markdownLink.ReplaceAllString(text, "$1")
	return markdownWord.ReplaceAllString(text, "$1$2")
}
