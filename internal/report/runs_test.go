package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/aoifleet/aoifleet/internal/journal"
)

func exitCode(n int) *int { return &n }

// journalled returns a run as read from its journal.
func journalled(hosts []string, entries ...journal.Entry) *journal.Run {
	run := &journal.Run{
		Head:    journal.Head{Run: "20261123-090000-K3F9", Command: "rotate", Tool: "v1.2.3", Owner: "operator@workstation", Inventory: "/fleet.yaml", Hosts: hosts},
		Started: now, Ends: map[string]journal.Entry{},
	}
	run.Entries = append([]journal.Entry{{Event: journal.Begin, Head: &run.Head}}, entries...)
	for i := range run.Entries {
		e := &run.Entries[i]
		e.At = now.Add(time.Duration(i) * 1500 * time.Millisecond)
		switch e.Event {
		case journal.End:
			run.Ends[e.Host] = *e
		case journal.Finish:
			run.Finished, run.Exit = e.At, e.Exit
		}
	}
	return run
}

func finishedRun() *journal.Run {
	from, to := oldLeaf.Thumbprint, newLeaf.Thumbprint
	return journalled([]string{"edr-01", "edr-02", "edr-03", "edr-04"},
		journal.Entry{Event: journal.Plan, Host: "edr-01", Step: "rotate", Old: from, New: to},
		journal.Entry{Event: journal.Plan, Host: "edr-02", Step: "rotate", New: to},
		journal.Entry{Event: journal.End, Host: "edr-03", Outcome: "current", Old: to, New: to},
		journal.Entry{Event: journal.End, Host: "edr-04", Outcome: "unreachable", Class: "unreachable", Message: "connection refused", New: to},
		journal.Entry{Event: journal.Step, Host: "edr-01", Step: "swap"},
		journal.Entry{Event: journal.End, Host: "edr-01", Outcome: "rotated", Proof: "log_clean", Old: from, New: to},
		journal.Entry{Event: journal.End, Host: "edr-02", Outcome: "rolled_back", Class: "unhealthy", Message: "the log says: AADSTS700027", New: to},
		journal.Entry{Event: journal.Finish, Exit: exitCode(6)},
	)
}

func unfinishedRun() *journal.Run {
	return journalled([]string{"edr-01", "edr-02", "edr-03"},
		journal.Entry{Event: journal.Plan, Host: "edr-02", Step: "rotate", Old: oldLeaf.Thumbprint, New: newLeaf.Thumbprint},
		journal.Entry{Event: journal.End, Host: "edr-01", Outcome: "not_applicable"},
		journal.Entry{Event: journal.Step, Host: "edr-02", Step: "stage"},
		journal.Entry{Event: journal.Done, Host: "edr-02"},
		journal.Entry{Event: journal.Step, Host: "edr-02", Step: "restart"},
	)
}

func printed(t *testing.T, print func(*bytes.Buffer) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRuns(t *testing.T) {
	began, later := journalled([]string{"edr-01"}), finishedRun()
	began.Damaged = 2
	later.Ends["edr-09"] = journal.Entry{Outcome: "levitated"}
	runs := []*journal.Run{began, unfinishedRun(), later, journalled(nil, journal.Entry{Event: journal.Finish, Exit: exitCode(0)})}
	golden(t, "runs.txt", printed(t, func(out *bytes.Buffer) error { return View{}.Runs(out, runs) }))
	golden(t, "runs.json", printed(t, func(out *bytes.Buffer) error { return RunsJSON(out, runs[:3]) }))
	if got := printed(t, func(out *bytes.Buffer) error { return RunsJSON(out, nil) }); !strings.Contains(got, `"runs": []`) {
		t.Errorf("no runs: %s", got)
	}
}

func TestRun(t *testing.T) {
	for name, run := range map[string]*journal.Run{"finished": finishedRun(), "unfinished": unfinishedRun()} {
		golden(t, "run-"+name+".txt", printed(t, func(out *bytes.Buffer) error { return View{}.Run(out, run, true) }))
		golden(t, "run-"+name+".json", printed(t, func(out *bytes.Buffer) error { return RunJSON(out, run) }))
		short := printed(t, func(out *bytes.Buffer) error { return View{}.Run(out, run, false) })
		if strings.Contains(short, "TIME") || !strings.Contains(short, "HOST") {
			t.Errorf("%s without steps:\n%s", name, short)
		}
	}
}

// No content of a journal can harm a terminal or a reader of the JSON.
func TestRunIsSanitised(t *testing.T) {
	const bad = "\x1b]0;owned\x07\u202ee\u009b31m\x00\tx\ny"
	e := journal.Entry{Event: bad, Host: bad, Step: bad, Outcome: bad, Proof: bad, Class: bad, Message: bad + strings.Repeat("m", 10000), Old: bad, New: bad}
	end, plan, step := e, e, e
	end.Event, plan.Event, step.Event = journal.End, journal.Plan, journal.Step
	run := journalled([]string{bad, bad + "2"}, e, plan, step, end)
	run.Command, run.Tool, run.Owner, run.Inventory = bad, bad, bad, bad
	unended := journalled([]string{bad}, plan, step)
	for name, print := range map[string]func(*bytes.Buffer) error{
		"Runs":          func(out *bytes.Buffer) error { return View{}.Runs(out, []*journal.Run{run}) },
		"RunsJSON":      func(out *bytes.Buffer) error { return RunsJSON(out, []*journal.Run{run}) },
		"Run":           func(out *bytes.Buffer) error { return View{}.Run(out, run, true) },
		"Run, unended":  func(out *bytes.Buffer) error { return View{}.Run(out, unended, true) },
		"RunJSON":       func(out *bytes.Buffer) error { return RunJSON(out, run) },
		"RunJSON again": func(out *bytes.Buffer) error { return RunJSON(out, unended) },
	} {
		text := printed(t, print)
		if strings.Contains(name, "JSON") {
			text = fmt.Sprint(decoded(t, text))
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s prints %q", name, text[i:min(i+20, len(text))])
		}
		if strings.Contains(text, "owned") || strings.Contains(text, strings.Repeat("m", longLimit+1)) {
			t.Errorf("%s is not sanitised:\n%s", name, text)
		}
	}
	if end.Message[0] != '\x1b' || run.Entries[1].Host != bad {
		t.Error("the run itself was changed")
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// brokenPipe is a writer whose reader has exited.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestRunsReturnWriteErrors(t *testing.T) {
	run := finishedRun()
	for name, err := range map[string]error{
		"Runs": View{}.Runs(brokenPipe{}, []*journal.Run{run}), "RunsJSON": RunsJSON(brokenPipe{}, nil),
		"Run": View{}.Run(brokenPipe{}, run, false), "RunJSON": RunJSON(brokenPipe{}, run),
	} {
		if err == nil {
			t.Errorf("%s says nothing", name)
		}
	}
}

// An engine says which hosts have ended, and not which it is changing: none of those that it has to
// change is said to be as before.
func TestRunThatIsAtAnEngine(t *testing.T) {
	run := journalled([]string{"edr-01", "edr-02", "edr-03"},
		journal.Entry{Event: journal.Plan, Host: "edr-01", Step: "rotate", Old: oldLeaf.Thumbprint, New: newLeaf.Thumbprint},
		journal.Entry{Event: journal.Plan, Host: "edr-02", Step: "none", Old: newLeaf.Thumbprint, New: newLeaf.Thumbprint})
	shown := func() (text string) {
		text = printed(t, func(out *bytes.Buffer) error { return View{}.Run(out, run, false) })
		for _, format := range Formats {
			text += written(t, OfRun(run), format)
		}
		return text
	}
	const elsewhere = "no outcome; its engine may be changing it"
	if text := shown(); strings.Contains(text, elsewhere) || !strings.Contains(text, notChanged) {
		t.Errorf("without an engine:\n%s", text)
	}
	run.Engine = "temporal://temporal.example/fleet"
	text := shown()
	either := oldLeaf.Thumbprint + " or " + newLeaf.Thumbprint
	if strings.Count(text, elsewhere) < 1+len(Formats) ||
		!strings.Contains(text, either) || !strings.Contains(text, eitherLive) {
		t.Errorf("with an engine:\n%s", text)
	}
	if strings.Contains(text, "edr-02  -        "+either) || !strings.Contains(text, "no step had begun") {
		t.Errorf("a host without an action:\n%s", text)
	}
	run.Finished = now
	if text := shown(); strings.Contains(text, elsewhere) {
		t.Errorf("a run that has ended:\n%s", text)
	}
}
