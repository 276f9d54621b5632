package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table is a table of lines with tabs between the cells, like text/tabwriter, that is not
// wider than the terminal: there it shortens thumbprints, leaves out columns, and wraps the
// last column.
type table struct {
	w    io.Writer
	view View
	less []string // titles of the columns to leave out, in this order
	text strings.Builder
}

const (
	gap      = 2  // columns between cells
	lastCell = 24 // the least width of the last column
)

func (v View) table(w io.Writer, less ...string) *table { return &table{w: w, view: v, less: less} }

// Write is io.Writer.
func (t *table) Write(p []byte) (int, error) { return t.text.Write(p) }

// Flush prints the table.
func (t *table) Flush() error {
	rows := rowsOf(t.text.String())
	if t.view.Width > 0 && total(widths(rows)) > t.view.Width {
		rows = rowsOf(shortThumbprints(t.text.String()))
		for _, title := range t.less {
			if total(widths(rows)) <= t.view.Width {
				break
			}
			rows = without(rows, slices.Index(rows[0], title))
		}
	}
	var b strings.Builder
	t.print(&b, rows, widths(rows))
	_, err := io.WriteString(t.w, b.String())
	return err
}

func (t *table) print(w io.Writer, rows [][]string, widths []int) {
	for _, row := range rows {
		var line strings.Builder
		last := len(row) - 1
		for i, cell := range row[:last] {
			line.WriteString(cell + strings.Repeat(" ", widths[i]+gap-utf8.RuneCountInString(cell)))
		}
		indent := utf8.RuneCountInString(line.String())
		if v := t.view; v.Width > 0 && indent+lastCell > v.Width && indent+utf8.RuneCountInString(row[last]) > v.Width {
			fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
			v.print(w, "    ", 4, row[last])
			continue
		}
		t.view.print(w, line.String(), indent, row[last])
	}
}

func rowsOf(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows
}

func without(rows [][]string, column int) [][]string {
	if column >= 0 {
		for i, row := range rows {
			rows[i] = slices.Delete(row, column, column+1)
		}
	}
	return rows
}

// widths returns the width of each column; the last one is wrapped.
func widths(rows [][]string) []int {
	var list []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(list) {
				list = append(list, 0)
			}
			list[i] = max(list[i], utf8.RuneCountInString(cell))
		}
	}
	if len(list) > 0 {
		list[len(list)-1] = min(list[len(list)-1], lastCell)
	}
	return list
}

func total(widths []int) int {
	n := gap * (len(widths) - 1)
	for _, w := range widths {
		n += w
	}
	return n
}
