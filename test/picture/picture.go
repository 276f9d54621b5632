// Package picture compares the pictures of the documents with what the program shows.
package picture

import (
	"fmt"
	"html"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"

	uv "github.com/charmbracelet/ultraviolet"
)

// Compare compares a file of docs/screens with what a terminal shows after text. With
// AOIFLEET_WRITE_DOCS it writes the file. The test's package is two folders below the root.
func Compare(t *testing.T, name, text string, width int) {
	t.Helper()
	path := filepath.Join("..", "..", "docs", "screens", name)
	picture := svg(text, width)
	if os.Getenv("AOIFLEET_WRITE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(picture), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if found, err := os.ReadFile(path); err != nil || string(found) != picture {
		t.Errorf("%s is not what the program shows (%v); write it anew with AOIFLEET_WRITE_DOCS=1. It shows:\n%s", path, err, ansi.Strip(text))
	}
}

// The size of a character in the pictures.
const cellWidth, cellHeight = 8.43, 18.0

// svg returns a picture of a terminal after text.
func svg(text string, width int) string {
	rows := strings.Count(ansi.Wrap(text, width, ""), "\n") + 1
	screen := vt.NewEmulator(width, rows)
	_, _ = screen.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
	w, h := float64(width)*cellWidth+20, float64(rows)*cellHeight+16
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\">\n", w, h)
	b.WriteString("<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1c1c1c\"/>\n")
	for y := range rows {
		for x := 0; x < width; {
			first := screen.CellAt(x, y)
			run, from := "", x
			for ; x < width && sameStyle(screen.CellAt(x, y), first); x++ {
				run += screen.CellAt(x, y).Content
			}
			if strings.TrimSpace(run) == "" {
				continue
			}
			run = strings.TrimRight(run, " ")
			fmt.Fprintf(&b, "<text x=\"%.2f\" y=\"%.0f\" textLength=\"%.2f\" xml:space=\"preserve\"%s>%s</text>\n",
				10+float64(from)*cellWidth, 8+float64(y)*cellHeight+14, float64(ansi.StringWidth(run))*cellWidth, attributes(first), html.EscapeString(run))
		}
	}
	return b.String() + "</svg>\n"
}

func sameStyle(a, b *uv.Cell) bool { return attributes(a) == attributes(b) }

// attributes returns the attributes of text in a cell's style.
func attributes(c *uv.Cell) string {
	fill := "#d0d0d0"
	palette := map[color.Color]string{ansi.Red: "#ff6b6b", ansi.Green: "#5fd75f", ansi.Yellow: "#ffd75f"}
	if c.Style.Fg != nil {
		fill = palette[c.Style.Fg]
	}
	text := fmt.Sprintf(" fill=%q", fill)
	if c.Style.Attrs&uv.AttrBold != 0 {
		text += ` font-weight="bold"`
	}
	if c.Style.Attrs&uv.AttrFaint != 0 {
		text += ` opacity="0.6"`
	}
	return text
}
