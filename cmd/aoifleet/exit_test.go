package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

func runOf(outcomes ...rollout.Outcome) *rollout.Run {
	r := &rollout.Run{}
	for _, o := range outcomes {
		r.Results = append(r.Results, rollout.Result{Entry: rollout.Entry{Outcome: o}})
	}
	return r
}

func TestRunCode(t *testing.T) {
	tests := []struct {
		outcome rollout.Outcome
		want    int
	}{
		{rollout.Rotated, 0}, {rollout.Current, 0}, {rollout.NotApplicable, 0}, {rollout.Restored, 0},
		{rollout.Unreachable, 4}, {rollout.Refused, 5}, {rollout.RolledBack, 6}, {rollout.Failed, 7}, {rollout.Unknown, 7},
	}
	for _, tt := range tests {
		if got := runCode(runOf(tt.outcome), nil); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.outcome, got, tt.want)
		}
	}
}

// The worst wins, in the order 7 > 130, 143 > 6 > 8 > 9 > 4 > 5:
// every pair of reasons, in any order among good hosts.
func TestTheWorstWins(t *testing.T) {
	reasons := []struct { // from bad to good
		code    int
		outcome rollout.Outcome
		signal  os.Signal
		stopped bool
		ended   bool
	}{
		{7, rollout.Failed, nil, false, false},
		{7, rollout.Unknown, nil, false, false},
		{130, rollout.Skipped, os.Interrupt, false, false},
		{143, rollout.Skipped, syscall.SIGTERM, false, false},
		{6, rollout.RolledBack, nil, false, false},
		{8, rollout.Skipped, nil, true, false},
		{9, rollout.Skipped, nil, false, true},
		{4, rollout.Unreachable, nil, false, false},
		{5, rollout.Refused, nil, false, false},
		{0, rollout.Rotated, nil, false, false},
	}
	for i, worse := range reasons {
		for _, better := range reasons[i:] {
			if worse.signal != nil && better.signal != nil && worse.signal != better.signal {
				continue // only the first counts
			}
			outcomes := []rollout.Outcome{rollout.Current, worse.outcome, better.outcome, rollout.Rotated}
			rand.Shuffle(len(outcomes), func(a, b int) { outcomes[a], outcomes[b] = outcomes[b], outcomes[a] })
			r := runOf(outcomes...)
			r.Stopped, r.Ended = worse.stopped || better.stopped, worse.ended || better.ended
			sig := worse.signal
			if sig == nil {
				sig = better.signal
			}
			if got := runCode(r, sig); got != worse.code {
				t.Errorf("%v with %v: %d", worse, better, got)
			}
		}
	}
}

// If Azure does not accept a certificate, the hosts that were skipped for it do not count:
// the code shows why nothing was done.
func TestUnacceptedCode(t *testing.T) {
	for outcome, want := range map[rollout.Outcome]int{rollout.Refused: 5, rollout.Unreachable: 4} {
		r := runOf(rollout.Current, outcome, rollout.Skipped)
		r.Unaccepted = true
		if got := runCode(r, nil); got != want {
			t.Errorf("%s: %d, want %d", outcome, got, want)
		}
		if got := runCode(r, os.Interrupt); got != 130 {
			t.Errorf("interrupted: %d", got)
		}
	}
}

func TestCodeOf(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{usage("u", ""), 2},
		{fmt.Errorf("wrapped: %w", usage("u", "")), 2},
		{inventory.Errors{{Message: "m"}}, 2},
		{&problem.Error{Class: problem.Certificate}, 2},
		{&azure.Error{Base: problem.Error{Class: problem.Configuration}}, 2},
		{&azure.Error{Base: problem.Error{Class: problem.Unreachable}}, 4},
		{&azure.Error{Base: problem.Error{Class: problem.Unexpected}}, 4},
		{&azure.Error{Base: problem.Error{Class: problem.Interrupted}}, 130},
		{&azure.Error{Base: problem.Error{Class: problem.Refused}}, 5},
		{&azure.Error{Base: problem.Error{Class: problem.Forbidden}}, 5},
		{&azure.Error{Base: problem.Error{Class: problem.Secret}}, 5},
		{&azure.Error{Base: problem.Error{Class: problem.Unsettled}}, 5},
	}
	for _, tt := range tests {
		if got := codeOf(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

// A refusal by Azure has priority over no answer, and that over a host that was left out.
func TestVerifyCode(t *testing.T) {
	no, away := &azure.Error{Base: problem.Error{Class: problem.Refused}}, &azure.Error{Base: problem.Error{Class: problem.Unreachable}}
	for _, tt := range []struct {
		errs []*azure.Error
		rest []rollout.Outcome
		want int
	}{
		{[]*azure.Error{nil}, nil, 0},
		{[]*azure.Error{away, no, nil}, nil, 5},
		{[]*azure.Error{nil, away}, []rollout.Outcome{rollout.Refused}, 4},
		{[]*azure.Error{nil}, []rollout.Outcome{rollout.Unreachable}, 4},
		{nil, []rollout.Outcome{rollout.Refused, rollout.NotApplicable}, 5},
		{nil, []rollout.Outcome{rollout.NotApplicable}, 0},
	} {
		answers := &verify.Answers{}
		for _, e := range tt.errs {
			answers.Questions = append(answers.Questions, &verify.Question{Err: e})
		}
		for _, o := range tt.rest {
			answers.NotAsked = append(answers.NotAsked, verify.NotAsked{Outcome: o})
		}
		if got := verifyCode(answers); got != tt.want {
			t.Errorf("%v, %v: %d, want %d", tt.errs, tt.rest, got, tt.want)
		}
	}
}

// The answer of Azure has priority over a host that was left out.
func TestRegistrationsCode(t *testing.T) {
	no, away := &azure.Error{Base: problem.Error{Class: problem.Forbidden}}, &azure.Error{Base: problem.Error{Class: problem.Unreachable}}
	for _, tt := range []struct {
		errs   []*azure.Error
		before int // the code so far
		want   int
	}{
		{[]*azure.Error{nil, nil}, problem.ExitOK, problem.ExitOK},
		{[]*azure.Error{nil, nil}, problem.ExitUnreachable, problem.ExitUnreachable},
		{[]*azure.Error{no, nil, nil}, problem.ExitUnreachable, problem.ExitRefused},
		{[]*azure.Error{nil, away, away, away}, problem.ExitOK, problem.ExitUnreachable},
		{[]*azure.Error{no, away, away}, problem.ExitOK, problem.ExitRefused},
	} {
		var list []*verify.Registration
		for _, e := range tt.errs {
			list = append(list, &verify.Registration{Err: e})
		}
		if got := registrationsCode(list, tt.before); got != tt.want {
			t.Errorf("%v after %d: %d, want %d", tt.errs, tt.before, got, tt.want)
		}
	}
}

func TestPlanCode(t *testing.T) {
	entry := func(o rollout.Outcome) rollout.Entry { return rollout.Entry{Outcome: o} }
	tests := []struct {
		entries  []rollout.Entry
		detailed bool
		want     int
	}{
		{[]rollout.Entry{entry("")}, false, 0},
		{[]rollout.Entry{entry("")}, true, 3},
		{[]rollout.Entry{entry(rollout.Current)}, true, 0},
		{[]rollout.Entry{entry(""), entry(rollout.Refused)}, true, 5},
		{[]rollout.Entry{entry(rollout.Refused), entry(rollout.Unreachable)}, true, 4},
	}
	for _, tt := range tests {
		if got := planCode(&rollout.Plan{Entries: tt.entries}, tt.detailed); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.entries, got, tt.want)
		}
	}
}

func TestStatusCode(t *testing.T) {
	well := func() *host.Observation { return &host.Observation{Unit: host.Unit{Active: "active"}} }
	tests := []struct {
		name  string
		entry rollout.Entry
		want  int
	}{
		{"well", rollout.Entry{Seen: well()}, 0},
		{"managed identity", rollout.Entry{Outcome: rollout.NotApplicable}, 0},
		{"not running", rollout.Entry{Seen: &host.Observation{Unit: host.Unit{Active: "failed"}}}, 5},
		{"refused by Entra", rollout.Entry{Seen: &host.Observation{Unit: host.Unit{Active: "active"}, Denied: "AADSTS7"}}, 5},
		{"unfinished", rollout.Entry{Seen: &host.Observation{Unit: host.Unit{Active: "active"}, Receipts: []host.Receipt{{State: "pending"}}}}, 5},
		{"unreachable", rollout.Entry{Outcome: rollout.Unreachable}, 4},
	}
	for _, tt := range tests {
		tt.entry.Host = &inventory.Host{Name: "a"}
		other := rollout.Entry{Target: tt.entry.Target, Seen: well()}
		if got := statusCode(&report.Status{Entries: []rollout.Entry{other, tt.entry}}); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
