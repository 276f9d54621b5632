package protocol

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// long is what a hostile host says where something short is expected: JSON makes more of it.
var long = strings.Repeat("<\u2028", 100_000)

func TestLooks(t *testing.T) {
	few := LookData{Seen: &host.Observation{Note: "n"}, Problem: problem.New(problem.Disk, "h", "m")}
	if got := few.Bounded(); got != few {
		t.Errorf("%+v", got)
	}
	for _, much := range []LookData{
		{Seen: &host.Observation{Note: long}},
		{Seen: &host.Observation{File: host.File{Real: strings.Repeat("x", MaxPath+1)}}},
		{Problem: &problem.Error{Class: problem.Class(long), Message: long, Hint: long}},
	} {
		if got := much.Bounded(); got.Seen != nil || got.Problem == nil || size(got) > 8*MaxText {
			t.Errorf("%d bytes", size(got))
		}
	}
}

// Whatever of a report is long, it becomes short, and says how the change ended.
func TestReports(t *testing.T) {
	much := func(n int, text string) []string { return slices.Repeat([]string{text}, n) }
	few := &host.Report{Ending: host.Rotated, Notes: []string{"n"}}
	if ShortReport(few) != few {
		t.Error("a short report was changed")
	}
	bad := &problem.Error{Class: problem.Unhealthy, Message: long, Hint: long}
	for i, r := range []host.Report{
		{Notes: much(200, strings.Repeat("n", 600)), Evidence: much(200, strings.Repeat("e", 1000))},
		{Problem: bad}, {Problem: bad, Notes: much(1, long), Evidence: much(1, long)},
		{Proof: long}, {Steps: []host.Step{{Name: long}}},
		{Notes: much(100_000, "n")}, {Evidence: much(100_000, "e")}, {Steps: make([]host.Step, 10_000)},
	} {
		if r.Ending = host.RolledBack; r.Proof == "" {
			r.Proof = "log_clean"
		}
		got := ShortReport(&r)
		proof := got.Proof == r.Proof || r.Proof == long && len(got.Proof) <= 50
		if size(got) > MaxReport || got.Ending != host.RolledBack || !proof || !slices.Contains(got.Notes, LeftOut) {
			t.Errorf("%d: %d bytes, %v", i, size(got), got.Notes)
		}
		if r.Problem != nil && (got.Problem.Class != r.Problem.Class || got.Problem.Message == "") {
			t.Errorf("%d: %+v", i, got.Problem)
		}
	}
}

// Pages are of as many results as fit, each of which is on one.
func TestPages(t *testing.T) {
	results := make([]rollout.ResultData, 300)
	for i := range results {
		results[i].Index = i
		if results[i].Evidence = []string{strings.Repeat("e", 10_000)}; i%7 == 0 {
			results[i].Notes = []string{long}
		}
	}
	all, pages := []rollout.ResultData{}, 0
	for {
		page := Page(len(all), len(results), func(i int) rollout.ResultData { return results[i] })
		if len(page) == 0 {
			break
		}
		if pages++; size(page) > MaxPage+MaxPage/10 {
			t.Errorf("a page of %d bytes", size(page))
		}
		all = append(all, page...)
	}
	whole := all[7].Notes[0] == LeftOut && len(all[8].Evidence) == 1 && all[299].Index == 299
	if len(all) != len(results) || pages > 6 || !whole {
		t.Errorf("%d results on %d pages", len(all), pages)
	}
}

// Only as many hosts of a part are refused as must be, those that have said the most.
func TestFit(t *testing.T) {
	part := PartData{Of: "run", Number: 3}
	for i := range 400 {
		seen := &host.Observation{Note: strings.Repeat("x", 1000)}
		if i%10 == 0 {
			seen.Note = strings.Repeat("y", 30_000)
		}
		of := rollout.HostData{Name: fmt.Sprint(i)}
		part.Entries = append(part.Entries, rollout.EntryData{Index: i, Host: of, Seen: seen, Action: rollout.Rotate})
	}
	encoded := func(p PartData) int {
		text, _ := json.Marshal(p)
		return len(text)
	}
	got := part.Fit(encoded)
	refused := 0
	for i, e := range got.Entries {
		if e.Index != i || e.Host.Name != fmt.Sprint(i) || part.Entries[i].Seen == nil {
			t.Errorf("%d is %d", i, e.Index)
		}
		if e.Outcome == "" && e.Seen != nil {
			continue
		}
		if refused++; i%10 != 0 || e.Outcome != rollout.Refused || e.Problem == nil || e.Seen != nil {
			t.Errorf("%d: %s", i, e.Outcome)
		}
	}
	if n := encoded(got); n > MaxPartBytes || n < MaxPartBytes-40_000 || refused == 0 || refused == 40 || got.Number != 3 {
		t.Errorf("%d bytes, %d refused", n, refused)
	}
	for i := range part.Entries { // what has ended is not refused, and leaves room for the others
		if i%20 == 0 {
			part.Entries[i].Outcome = rollout.Current
		}
	}
	for i, e := range part.Fit(encoded).Entries {
		if e.Outcome != part.Entries[i].Outcome || e.Outcome == "" && e.Seen == nil {
			t.Errorf("%d: %s", i, e.Outcome)
		}
	}
	part.Entries = part.Entries[1:10]
	for _, e := range part.Fit(encoded).Entries {
		if e.Seen == nil {
			t.Error(e.Index)
		}
	}
}
