package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	docLink    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	docHeading = regexp.MustCompile(`^#{1,6} +(.*?)( +#+)?$`)
	docCode    = regexp.MustCompile("`[^`]*`")
	docFence   = regexp.MustCompile("^ {0,3}(```|~~~)")
)

// Every link of the documents leads to a file of the repository, and to a heading of it if
// it names one.
func TestLinksOfTheDocuments(t *testing.T) {
	const root = "../../"
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	links := 0
	for _, path := range documents {
		for n, line := range proseOf(t, path) {
			for _, m := range docLink.FindAllStringSubmatch(docCode.ReplaceAllString(line, "``"), -1) {
				links++
				if problem := brokenLink(t, path, m[1]); problem != "" {
					t.Errorf("%s:%d: %s: %s", strings.TrimPrefix(path, root), n+1, m[1], problem)
				}
			}
		}
	}
	if len(documents) < 10 || links < 30 {
		t.Errorf("only %d links in %d documents were checked", links, len(documents))
	}
}

// brokenLink returns what is wrong with a link; links to other sites are not followed.
func brokenLink(t *testing.T, from, link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return err.Error()
	}
	if u.Scheme != "" || u.Host != "" {
		return ""
	}
	path := from
	if u.Path != "" {
		path = filepath.Join(filepath.Dir(from), filepath.FromSlash(u.Path))
	}
	if _, err := os.Stat(path); err != nil {
		return "there is no such file"
	}
	if u.Fragment != "" && (filepath.Ext(path) != ".md" || !anchorsOf(t, path)[u.Fragment]) {
		return "there is no such heading"
	}
	return ""
}

// proseOf returns the lines of a document, empty for code.
func proseOf(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	fenced := false
	for i, line := range lines {
		fence := docFence.MatchString(line)
		if fenced || fence {
			lines[i] = ""
		}
		fenced = fenced != fence
	}
	return lines
}

// anchorsOf returns the names that GitHub gives to the headings of a document: lower
// case, hyphens for spaces, without punctuation, numbered if they repeat.
func anchorsOf(t *testing.T, path string) map[string]bool {
	t.Helper()
	anchors := map[string]bool{}
	for _, line := range proseOf(t, path) {
		m := docHeading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, docLink.ReplaceAllString(m[1], "]"))
		anchor := name
		for n := 1; anchors[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", name, n)
		}
		anchors[anchor] = true
	}
	return anchors
}
