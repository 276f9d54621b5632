package report

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func gathered(name string, bytes int64) rollout.Result {
	res := rollout.Result{Diagnostics: &rollout.Diagnostics{File: filepath.Join("out", name+".zip"), Size: bytes, SHA256: "ab"}}
	res.Host = &inventory.Host{Name: name, Address: "10.0.0.1"}
	return res
}

func TestGathered(t *testing.T) {
	without := rollout.Result{}
	without.Host = &inventory.Host{Name: "paris-1"}
	without.Outcome, without.Reason = rollout.Refused, "the host has no tool"
	without.Problem = &problem.Error{Class: "configuration", Message: "the host has no tool", Hint: "install it"}
	all := []rollout.Result{gathered("london-1", 3_100_000), gathered("london-2", 12_400_000), without}
	var b bytes.Buffer
	Gathered(&b, all)
	want := "refused        paris-1\n                 the host has no tool\n                 hint: install it\n" +
		"diagnostics    london-[1-2] (2 hosts)\n                 each as HOST.zip in out\n3 hosts: 2 gathered, 15.5 MB\n"
	if b.String() != want {
		t.Errorf("got %s", b.String())
	}
	b.Reset()
	Gathered(&b, all[:1])
	if want := "diagnostics    " + filepath.Join("out", "london-1.zip") + "\n1 host: 1 gathered, 3.1 MB\n"; b.String() != want {
		t.Errorf("got %s", b.String())
	}
	b.Reset()
	Gathered(&b, all[2:])
	if !strings.HasSuffix(b.String(), "\n1 host: 0 gathered\n") {
		t.Errorf("got %s", b.String())
	}
	text, err := json.Marshal(GatheredHosts(all))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"diagnostics":{"file":"` + strings.ReplaceAll(filepath.Join("out", "london-1.zip"), `\`, `\\`) + `","bytes":3100000,"sha256":"ab"}`, `"outcome":"refused"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestSummaryNamesTheDiagnostics(t *testing.T) {
	res := gathered("london-1", 1)
	res.Outcome = rollout.RolledBack
	run := &rollout.Run{Results: []rollout.Result{res}}
	var b bytes.Buffer
	View{}.Summary(&b, run, Commands{Again: []string{"again"}}, 0)
	if !strings.Contains(b.String(), "\ndiagnostics    "+filepath.Join("out", "london-1.zip")+"\n") {
		t.Errorf("got %s", b.String())
	}
	if d := RunHosts(run)[0].Diagnostics; d == nil || d.Bytes != 1 {
		t.Errorf("got %+v", d)
	}
}

// On a terminal a bar and the bytes of each download are drawn, and only redrawn when the
// text changes.
func TestProgressOfDownloads(t *testing.T) {
	var b bytes.Buffer
	p := &Progress{W: &b, Terminal: true, Width: 100}
	p.Event(rollout.Event{Host: "paris-1", Step: "diagnose"})
	p.Event(rollout.Event{Host: "london-1", Step: "download", Done: 3_100_000, Total: 12_400_000})
	if got := screen(b.String()); got != "diagnose 1  [#####---------------]  london-1 3.1 of 12.4 MB" {
		t.Errorf("screen %q", got)
	}
	before := b.Len()
	for i := range 100 {
		p.Event(rollout.Event{Host: "london-1", Step: "download", Done: 3_100_000 + int64(i), Total: 12_400_000})
	}
	if b.Len() != before {
		t.Errorf("drawn again: %q", b.String()[before:])
	}
	p.Event(rollout.Event{Host: "paris-1", Step: "download", Done: 6_200_000, Total: 6_200_000})
	if got := screen(b.String()); got != "[##########----------]  london-1 3.1 of 12.4 MB  paris-1 6.2 of 6.2 MB" {
		t.Errorf("screen %q", got)
	}
	p.Event(rollout.Event{Host: "paris-1", Done: 6_200_000, Total: 6_200_000})
	p.Event(rollout.Event{Host: "paris-1"})
	if got := screen(b.String()); got != "paris-1: diagnostics 6.2 MB\n[#####---------------]  london-1 3.1 of 12.4 MB" {
		t.Errorf("screen %q", got)
	}
	p.Done()
	if got := screen(b.String()); got != "paris-1: diagnostics 6.2 MB\n" {
		t.Errorf("screen %q", got)
	}
}

// In a log there is one line when a download ends.
func TestDownloadsInALog(t *testing.T) {
	var b bytes.Buffer
	p := &Progress{W: &b}
	p.Event(rollout.Event{Host: "a", Step: "diagnose"})
	for i := range int64(5) {
		p.Event(rollout.Event{Host: "a", Step: "download", Done: i, Total: 4})
	}
	p.Event(rollout.Event{Host: "a", Done: 4, Total: 4})
	p.Event(rollout.Event{Host: "a"})
	if b.String() != "a: diagnostics 0.0 kB\n" {
		t.Errorf("%q", b.String())
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct{ done, total int64 }{{0, 0}, {-1, 1}, {5, 1}, {1 << 62, 1 << 62}, {0, 10}} {
		if got := len(bar(c.done, c.total)); got != 22 {
			t.Errorf("%v: %d columns", c, got)
		}
	}
}
