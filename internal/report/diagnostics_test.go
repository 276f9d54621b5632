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
	if d := RunHosts(run, now)[0].Diagnostics; d == nil || d.Bytes != 1 {
		t.Errorf("got %+v", d)
	}
}
