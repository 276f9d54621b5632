package progress

import (
	"regexp"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// The lines of a part of a run are in its group; what else is printed is outside of it, and a
// part without lines has none.
func TestGroupsOfAPipeline(t *testing.T) {
	var out lines
	d := &Display{W: &out, Direct: direct{&out}, Mode: Plain, Title: "rotate", Group: func(title string) (string, func() string) {
		return "begin " + title, func() string { return "end " + title }
	}}
	hosts := []*inventory.Host{{Name: "a"}, {Name: "b"}}
	rotated := func(host string) { d.Event(rollout.Event{Host: host, Outcome: rollout.Rotated}) }
	d.Event(rollout.Event{Step: "observe", Hosts: hosts})
	d.Event(rollout.Event{Step: "wave", Hosts: hosts[:1], Wave: 1, Waves: 2})
	rotated("a")
	d.Say("warning: disk")
	d.Event(rollout.Event{Step: "wave", Hosts: hosts[1:], Wave: 2, Waves: 2})
	rotated("b")
	d.Command("command")
	d.Event(rollout.Event{Host: "b", Outcome: rollout.Unknown})
	if _, err := d.Clearing(&out).Write([]byte("result\n")); err != nil {
		t.Fatal(err)
	}
	want := `direct begin rotate: wave 1 of 2
wave 1: starts
a: rotated
direct end rotate: wave 1 of 2
warning: disk
direct begin rotate: wave 2 of 2
wave 2: starts
b: rotated
direct end rotate: wave 2 of 2
direct command
direct begin rotate: wave 2 of 2
b: unknown
direct end rotate: wave 2 of 2
result
`
	if got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\dZ `).ReplaceAllString(out.String(), ""); got != want {
		t.Errorf("got\n%s", got)
	}
}

// lines is written to by the display alone.
type lines struct{ strings.Builder }

// direct marks what is written to it.
type direct struct{ to *lines }

func (d direct) Write(p []byte) (int, error) { return d.to.Write(append([]byte("direct "), p...)) }
