package report

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"io"
	"strconv"
	"strings"
)

// htmlPage is the page with what the browser needs. The policy allows the page's own style
// and script, by their digests, and nothing else: no file, no connection, no other script.
type htmlPage struct {
	*Page
	Policy string
	Style  template.CSS
	Script template.JS
}

var htmlTemplate = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"px": func(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) },
	"width": func(cell string) string {
		switch {
		case len(cell) > 30 && !strings.Contains(cell, " "): // a thumbprint, the ID of an application
			return "id"
		case len(cell) > 30:
			return "long"
		}
		return "short"
	},
	"under": func(y int) int { return y + 12 },
	"more":  func(c Cause) int { return len(c.Evidence) + c.More },
	"at": func(levels []Level, column int) Level {
		if column < 1 || column > len(levels) {
			return ""
		}
		return levels[column-1]
	},
}).ParseFS(pages, "page/report.html"))

// html writes the page as one file of HTML.
func (p *Page) html(w io.Writer) error {
	style, script := pageFile("report.css"), pageFile("report.js")
	out := bufio.NewWriter(w)
	err := htmlTemplate.Execute(out, htmlPage{Page: p, Style: template.CSS(style), Script: template.JS(script),
		Policy: "default-src 'none'; style-src '" + digestOf(style) + "'; script-src '" + digestOf(script) + "'; base-uri 'none'; form-action 'none'"})
	if err != nil {
		return err
	}
	return out.Flush()
}

func pageFile(name string) string {
	text, err := pages.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}

// digestOf returns the source expression of an inline element (CSP 3, 2.3.1).
func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
