package report

import (
	"encoding/xml"
	"io"
	"strings"
	"unicode"

	"github.com/aoifleet/aoifleet/internal/display"
)

// The elements of a JUnit report, as Jenkins reads them (jenkins-junit.xsd of its xUnit
// plugin).
type (
	junitSuites struct {
		XMLName xml.Name   `xml:"testsuites"`
		Name    string     `xml:"name,attr"`
		Tests   int        `xml:"tests,attr"`
		Fails   int        `xml:"failures,attr"`
		Time    float64    `xml:"time,attr"`
		Suite   junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Fails      int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       float64         `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    float64       `xml:"time,attr"`
		Skipped *struct{}     `xml:"skipped"`
		Failure *junitFailure `xml:"failure"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit writes the page as JUnit's XML: one test case a host.
func (p *Page) junit(w io.Writer) error {
	s := junitSuite{Name: valid("aoifleet " + p.Command), Tests: len(p.Hosts), Time: p.Seconds}
	if !p.Started.IsZero() {
		s.Timestamp = p.Started.UTC().Format("2006-01-02T15:04:05")
	}
	facts := append([]Fact{{"Verdict", p.Verdict}, {"Result", p.Detail}}, p.Facts...)
	for _, text := range p.Notices {
		facts = append(facts, Fact{"Warning", text})
	}
	for _, text := range p.Next {
		facts = append(facts, Fact{"Next", text})
	}
	for _, f := range facts {
		s.Properties = append(s.Properties, junitProperty{f.Label, valid(f.Value)})
	}
	for _, r := range p.Hosts {
		c := junitCase{Name: valid(r.Name), Class: valid(strings.TrimSuffix("aoifleet."+strings.ReplaceAll(p.Command, " ", "-")+"."+r.Site, ".")), Time: r.Seconds}
		switch {
		case r.Failed:
			s.Fails++
			c.Failure = &junitFailure{Message: valid(strings.Join(append([]string{r.Label}, r.Why...), ": ")), Type: valid(r.Label), Text: valid(strings.Join(append(r.Why, r.Evidence...), "\n"))}
		case r.Skipped:
			s.Skipped++
			c.Skipped = &struct{}{}
		default:
			c.Out = valid(strings.Join(append([]string{r.Label}, r.Cells...), " "))
		}
		s.Cases = append(s.Cases, c)
	}
	all := junitSuites{Name: s.Name, Tests: s.Tests, Fails: s.Fails, Time: s.Time, Suite: s}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", " ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// valid returns text without the characters that XML 1.0 has no form for (section 2.2), and
// without the program's secrets.
func valid(s string) string {
	return strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || c == 0xFFFE || c == 0xFFFF || unicode.IsControl(c) && c != '\n' {
			return -1
		}
		return c
	}, display.SanitiseText(s, 16*longLimit))
}
