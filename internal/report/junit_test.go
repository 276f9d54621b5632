package report

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// A JUnit report is XML that a strict parser reads, whatever hosts say: one test case a host.
func TestJUnitReport(t *testing.T) {
	d := rotation(50)
	const broken = "\x00\x1b[31m\ufffe\uffff\xff]]><![CDATA["
	d.Hosts[0].Name = broken + hostile
	d.Hosts[9].Evidence = []string{broken, hostile}
	d.Hosts[9].Error.Message = broken + hostile
	text := written(t, Of(d), "xml")
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	if strings.ContainsAny(text, "\x00\x1b\ufffd\ufffe\uffff") {
		t.Error("it has a character that XML has no form for")
	}
	var got junitSuites
	if err := xml.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	s := got.Suite
	if got.Tests != 50 || len(s.Cases) != 50 || s.Fails != 3 || s.Skipped != 15 || s.Timestamp != "2026-11-23T09:00:00" || s.Time != 754 {
		t.Errorf("%d tests, %d cases, %d failures, %d skipped, %s, %v s", got.Tests, len(s.Cases), s.Fails, s.Skipped, s.Timestamp, s.Time)
	}
	bad := s.Cases[9]
	if bad.Name != "paris-edr-002" || bad.Class != "aoifleet.rotate.paris" || bad.Time != 30 || bad.Failure == nil || bad.Failure.Type != "rolled_back" ||
		!strings.Contains(bad.Failure.Text, "<script>alert(1)</script>") || !strings.Contains(bad.Failure.Message, "unhealthy: ") {
		t.Errorf("%+v, %+v", bad, bad.Failure)
	}
	if s.Cases[1].Failure != nil || s.Cases[45].Skipped == nil {
		t.Errorf("%+v\n%+v", s.Cases[1], s.Cases[45])
	}
	program, err := exec.LookPath("xmllint")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err == nil {
		cmd := exec.Command(program, "--noout", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// A command that ends with an error is one failed test case.
func TestReportOfFailure(t *testing.T) {
	r := OfFailure(Failure{NewHead("1", "status", 2), problem.Error{Class: problem.Usage, Message: hostile, Hint: "do this"}}, time.Unix(0, 0))
	if text := written(t, r, "xml"); !strings.Contains(text, `tests="1" failures="1"`) || !strings.Contains(text, "hint: do this") {
		t.Error(text)
	}
	if text := written(t, r, "json"); !strings.Contains(text, `"class": "usage"`) {
		t.Error(text)
	}
	for _, format := range []string{"html", "md"} {
		if text := written(t, r, format); !strings.Contains(text, "The command ended with an error") || !strings.Contains(text, "do this") {
			t.Error(text)
		}
	}
	if err := r.Write(io.Discard, "pdf"); err == nil || !strings.Contains(fmt.Sprint(err), "pdf") {
		t.Errorf("%v", err)
	}
}
