package report

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/doctor"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// visited returns a host that was checked, without the script's own facts.
func visited(name string, change func(v *doctor.Visit)) doctor.Visit {
	v := doctor.Visit{
		Host: inventory.Host{Name: name, Address: name + ".example.net", Sudo: inventory.SudoPasswordless, Agent: inventory.Agent{Unit: "a.service"}},
		Found: &host.Examination{Root: true, Seen: &host.Observation{Space: 1 << 30, Provider: &host.Provider{Name: "p", Path: "/c"},
			File: host.File{Path: "/c", Kind: "file"}, Unit: host.Unit{Load: "loaded", Active: "active", File: "enabled"}}},
	}
	change(&v)
	return v
}

func denied(v *doctor.Visit) {
	v.Found.Seen.Denied = "2026-11-23T08:00:00.1Z  ERROR AADSTS1 of " + v.Host.Name[:1]
}
func away(v *doctor.Visit) {
	v.DialErr = &problem.Error{Class: problem.Unreachable, Message: "timed out"}
}
func leaves(v *doctor.Visit)  { v.Found.Seen.Leftover = []string{"staged-R"} }
func nothing(v *doctor.Visit) {}

func TestDoctorText(t *testing.T) {
	d := Examined([]doctor.Visit{visited("a-1", leaves), visited("a-2", leaves), visited("a-3", denied), visited("a-4", nothing), visited("a-5", away),
		visited("a-6", func(v *doctor.Visit) {
			denied(v)
			v.Found.Seen.Denied = strings.Replace(v.Found.Seen.Denied, "08:00", "09:30", 1)
		}),
		visited("b", leaves)}, "my fleet.yaml")
	var b strings.Builder
	d.Text(&b, false)
	want := `reach          a-5
                 timed out
accepted       a-3, a-6 (2 hosts)
                 the log says: ERROR AADSTS1 of a
                 hint: check that the certificate is registered for the agent's service principal: aoifleet certificate verify
leftovers      a-[1-2], b (3 hosts)
                 leftovers of ended runs: staged-R
                 hint: aoifleet recover -i 'my fleet.yaml' --limit 'a-[1-2],b'
7 hosts: 1 ok, 5 with a failed check, 1 unreachable; `
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("%s\nwant:\n%s", b.String(), want)
	}
}

func TestDoctorRows(t *testing.T) {
	d := Examined([]doctor.Visit{visited("a-1", leaves)}, "fleet.yaml")
	var b strings.Builder
	d.Text(&b, true)
	for _, line := range []string{"a-1", "  jump               ok           none", "  tools              not checked",
		"  leftovers          FAILED       leftovers of ended runs: staged-R", "                                  hint: aoifleet recover -i fleet.yaml --limit a-1"} {
		if !strings.Contains("\n"+b.String(), "\n"+line+"\n") {
			t.Errorf("no line %q in:\n%s", line, b.String())
		}
	}
	if rows := strings.Count(b.String(), "\n"); rows != 1+len(doctor.Names)+1+1 {
		t.Errorf("%d lines:\n%s", rows, b.String())
	}
	var inColor strings.Builder
	d.Text(Colored(&inColor), true)
	if got := inColor.String(); !strings.Contains(got, "  leftovers          \x1b[31mFAILED\x1b[m       leftovers") || ansi.Strip(got) != b.String() {
		t.Errorf("in colour: %q", got)
	}
}

func TestDoctorJSON(t *testing.T) {
	d := Examined([]doctor.Visit{visited("a-1", leaves), visited("a-5", away)}, "fleet.yaml")
	hosts := d.hosts()
	for i, want := range [][]string{
		{`{"name":"jump","ok":true,"message":"none","hint":""}`, `{"name":"tools","ok":null,"message":"","hint":""}`,
			`{"name":"leftovers","ok":false,"message":"leftovers of ended runs: staged-R","hint":"aoifleet recover -i fleet.yaml --limit a-1"}`},
		{`{"name":"a-5","address":"a-5.example.net","checks":[`, `{"name":"reach","ok":false,"message":"timed out","hint":""},{"name":"host_key","ok":null`},
	} {
		text, err := json.Marshal(hosts[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(string(text), part) {
				t.Errorf("no %s in %s", part, text)
			}
		}
	}
	if !d.Failed(0) || !d.Failed(1) {
		t.Error("a failure is lost")
	}
}
