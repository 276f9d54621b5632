package engine

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"temporal://temporal.example/fleet":           "temporal://temporal.example:7233/fleet",
		"temporal://temporal.example:443/fleet":       "temporal://temporal.example:443/fleet",
		"temporal://[2001:db8::1]/fleet":              "temporal://[2001:db8::1]:7233/fleet",
		"temporal://10.0.0.1:7233/fleet.a1b2c/":       "temporal://10.0.0.1:7233/fleet.a1b2c",
		"temporal://temporal.example":                 "",
		"temporal:///fleet":                           "",
		"temporal://user:secret@host/fleet":           "",
		"https://host/fleet":                          "",
		"temporal://host/a/b":                         "",
		"temporal://host/a?tls=no":                    "",
		"temporal://host/a%0ab":                       "",
		"":                                            "",
		"host:7233":                                   "",
		"temporal://host:port/fleet":                  "",
		"temporal://host/" + strings.Repeat("x", 300): "",
	} {
		u, err := Parse(text)
		switch {
		case want == "" && !problem.Is(err, problem.Usage):
			t.Errorf("%q: %v, %v", text, u, err)
		case want == "" && strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: %v", text, err)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q: %v, %v", text, u, err)
		}
		if again, err := Parse(u.String()); want != "" && (err != nil || again != u) {
			t.Errorf("%q again: %v, %v", text, again, err)
		}
	}
}

// No text of an answer reaches a terminal as it was sent.
func TestClean(t *testing.T) {
	const evil = "a\x1b[2J\u202eb\x07"
	var d rollout.ResultData
	d.Host.Name, d.Host.Labels = evil, map[string]string{evil: evil}
	d.Notes, d.Problem, d.Seen = []string{evil}, &problem.Error{Message: evil, Hint: evil}, &host.Observation{Note: evil}
	a := Answer{State: &State{PlanID: evil, Totals: map[rollout.Outcome]int{evil: 1}, Result: &Result{Lost: []LostPart{{Problem: &problem.Error{Message: evil}}}}}, Results: []rollout.ResultData{d}}
	clean(&a)
	text, err := json.Marshal(a)
	if err != nil || strings.Contains(string(text), `\u001b`) || strings.Contains(string(text), "\u202e") || strings.Contains(string(text), `\u0007`) {
		t.Errorf("%v\n%s", err, text)
	}
	if r := a.Results[0]; r.Notes[0] != "ab" || r.Host.Labels["ab"] != "ab" || a.State.Totals["ab"] != 1 || r.Problem.Hint != "ab" {
		t.Errorf("%+v", a)
	}
}

func TestNoProgram(t *testing.T) {
	c := Client{URL: URL{"host:7233", "fleet"}}
	if err := c.Open(context.Background()); !problem.Is(err, problem.Usage) || problem.As(err).Hint == "" {
		t.Errorf("none: %v", err)
	}
	for program, want := range map[string]problem.Class{"/no/such/program": problem.Usage, "/bin/false": problem.Unreachable, "/bin/echo": problem.Unexpected} {
		c := Client{URL: URL{"host:7233", "fleet"}, Program: program, Say: func(string) {}}
		if err := c.Open(context.Background()); !problem.Is(err, want) {
			t.Errorf("%s: %v", program, err)
		}
		c.Close()
	}
}

// script returns a program that runs a script of the shell.
func script(t *testing.T, text string) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "talker")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Client{URL: URL{"host:7233", "fleet"}, Program: path, Say: func(string) {}}
}

// A command that the program has started, and that lasts, ends with it.
func TestCloseEndsWhatWasStarted(t *testing.T) {
	c := script(t, `sleep 1000 & echo '{"protocol":1}'; wait`)
	if err := c.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.Close() // never returned without that
}

// The ID of a run becomes part of commands that an operator types.
func TestCurrentHasAnID(t *testing.T) {
	c := script(t, `echo '{"protocol":1}'; read request; echo '{"id":1,"state":{"run":{"id":"x; rm -rf ~"}}}'; read end`)
	defer c.Close()
	if state, err := c.Current(context.Background()); !problem.Is(err, problem.Unexpected) {
		t.Errorf("%+v, %v", state, err)
	}
}
