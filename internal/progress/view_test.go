package progress

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// The view at some moments of a rotation of twelve hosts, two at once, with a canary of one.
func TestView(t *testing.T) {
	events := rotation(hostsOf(twelve), 2, 30*time.Second, 1, 11)
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{2 * time.Second, `
rotate: checking                                  2s elapsed
all  --------------------------------------------------  0/12
. 12 waiting`},
		{4500 * time.Millisecond, `
rotate: staging                                   5s elapsed
all  --------------------------------------------------  0/12
> 12 in progress
  london-sftp-001  stage  1s
  london-sftp-002  stage  1s
  london-sftp-003  stage  1s
  london-sftp-004  stage  1s
  london-sftp-005  stage  1s
  london-sftp-006  stage  1s
  ... and 6 more: stage 6`},
		{12 * time.Second, `
rotate: wave 1 of 2                               12s elapsed
wave  --------------------------------------------------  0/1
all   --------------------------------------------------  0/12
> 1 in progress  . 11 waiting
  london-sftp-001  watch  13s left`},
		{35 * time.Second, `
rotate: soak of wave 1 of 2   35s elapsed, about 3m50s left
soak  ################---------------------------------  20s left
all   ####---------------------------------------------  1/12
+ 1 rotated`},
		{88 * time.Second, `
rotate: wave 2 of 2      1m28s elapsed, about 1m10s left
wave  #########-----------------------------------------  2/11
all   ############--------------------------------------  3/12
+ 3 rotated  > 2 in progress  . 7 waiting
  london-sftp-005  watch  5s left
  london-sftp-004  undo   6s`},
	} {
		m, now := modelAfter(c.after, events)
		got := strings.TrimPrefix(m.View(Style{Width: 66, Height: 24, ASCII: true}, now), "\n")
		if squeeze(got) != squeeze(strings.TrimPrefix(c.want, "\n")) {
			t.Errorf("after %v:\n%s\nwant%s", c.after, got, c.want)
		}
	}
}

// squeeze makes runs of spaces one.
func squeeze(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

// A line as wide as the terminal would wrap, and a view as high would scroll: neither happens
// at any size and moment. Colours and characters change nothing else.
func TestViewFits(t *testing.T) {
	events := rotation(hostsOf(threeHundred), 16, time.Minute, 1, 60, 239)
	for after := time.Duration(0); after < 10*time.Minute; after += 37 * time.Second {
		m, now := modelAfter(after, events)
		m.Interrupted = after > 5*time.Minute
		for width := 20; width <= 200; width += 15 {
			for _, height := range []int{3, 8, 24, 60} {
				view := m.View(Style{Width: width, Height: height, Color: true}, now)
				lines := strings.Split(view, "\n")
				if len(lines) > max(1, height-2) {
					t.Fatalf("%dx%d after %v: %d lines", width, height, after, len(lines))
				}
				for _, line := range lines {
					if ansi.StringWidth(line) >= width {
						t.Fatalf("%dx%d after %v: %q", width, height, after, line)
					}
				}
				if plain := m.View(Style{Width: width, Height: height}, now); ansi.Strip(view) != plain {
					t.Fatalf("%dx%d after %v: %s\nin colour: %s", width, height, after, plain, view)
				}
			}
		}
	}
}

// A fleet of many groups has rows for those in which something happens.
func TestGroups(t *testing.T) {
	var sites []site
	for i := range 20 {
		sites = append(sites, site{fmt.Sprintf("site-%02d", i), 5})
	}
	hosts := hostsOf(sites)
	m := &Model{Title: "rotate"}
	m.Update(rollout.Event{Step: "stage", Hosts: hosts}, noon)
	m.Update(rollout.Event{Step: "wave", Wave: 1, Waves: 1, Hosts: hosts}, noon)
	for _, h := range hosts[:5] {
		m.Update(rollout.Event{Host: h.Name, Outcome: rollout.Rotated}, noon)
	}
	m.Update(rollout.Event{Host: hosts[42].Name, Step: "watch"}, noon)
	got := m.View(Style{Width: 80, Height: 40, ASCII: true}, noon)
	for _, want := range []string{"\n  site-08  ----", "0/5  > 1\n  site-01  ---", "\n  ... and 14 more groups (70 hosts)\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "site-00") {
		t.Errorf("a finished group comes first:\n%s", got)
	}
}

// Downloads show their bytes, checks their failures, the questions to Azure their number.
func TestOtherParts(t *testing.T) {
	hosts := hostsOf([]site{{"paris", 3}})
	m := &Model{Title: "gather-diags"}
	m.Update(rollout.Event{Step: "diagnose", Hosts: hosts}, noon)
	m.Update(rollout.Event{Host: hosts[0].Name, Step: "download", Done: 3_100_000, Total: 12_400_000}, noon)
	m.Update(rollout.Event{Host: hosts[1].Name, Step: "download", Done: 5, Total: 5}, noon)
	m.Update(rollout.Event{Host: hosts[1].Name, Done: 5, Total: 5}, noon)
	if got := m.View(Style{}, noon); !strings.Contains(got, "paris-sftp-001  download  3.1 MB of 12.4 MB") || !strings.Contains(got, "  1/3\n") {
		t.Error(got)
	}
	m.Update(rollout.Event{Step: "observe", Hosts: hosts}, noon)
	m.Update(rollout.Event{Host: hosts[2].Name, Step: "observe"}, noon)
	m.Update(rollout.Event{Host: hosts[2].Name, Problem: &problem.Error{Message: "refused"}}, noon)
	if got := m.View(Style{}, noon); !strings.Contains(got, "! 1 with a problem") {
		t.Error(got)
	}
	for _, answers := range []int64{0, 2, 1} { // they may arrive in another order
		m.Update(rollout.Event{Step: "verify", Done: answers, Total: 3}, noon)
	}
	if got := m.View(Style{}, noon); !strings.Contains(got, "gather-diags: asking Azure") || !strings.Contains(got, "  2/3") {
		t.Error(got)
	}
}

// The estimate follows from how long hosts took, how many run at once and the soaks to come;
// there is none before the first host has ended.
func TestEstimate(t *testing.T) {
	hosts := hostsOf([]site{{"a", 10}})
	m := &Model{}
	m.Update(rollout.Event{Step: "stage", Hosts: hosts}, noon)
	m.Update(rollout.Event{Step: "wave", Wave: 1, Waves: 3, Lasts: time.Minute, Hosts: hosts[:4]}, noon)
	m.Update(rollout.Event{Host: hosts[0].Name, Step: "rotate"}, noon)
	m.Update(rollout.Event{Host: hosts[1].Name, Step: "rotate"}, noon)
	if _, ok := m.left(noon); ok {
		t.Error("an estimate without a measurement")
	}
	now := noon.Add(20 * time.Second)
	m.Update(rollout.Event{Host: hosts[0].Name, Outcome: rollout.Rotated}, now)
	// Eight hosts of 20 s wait, two at once; the other one is due now.
	if got, _ := m.left(now); got != 80*time.Second+2*time.Minute {
		t.Error(got)
	}
	m.Update(rollout.Event{Step: "soak", Wave: 1, Waves: 3, Lasts: time.Minute, Hosts: hosts[:1]}, now)
	for _, h := range hosts { // all at once, but only in the soak
		m.Update(rollout.Event{Host: h.Name, Step: "observe"}, now)
	}
	for _, h := range hosts {
		m.Update(rollout.Event{Host: h.Name}, now)
	}
	if got, _ := m.left(now.Add(10 * time.Second)); got != 90*time.Second+110*time.Second {
		t.Error(got)
	}
}

// A host whose soak is undone counts once, with its last outcome.
func TestWorseOutcome(t *testing.T) {
	hosts := hostsOf([]site{{"a", 2}})
	m := &Model{}
	m.Update(rollout.Event{Step: "stage", Hosts: hosts}, noon)
	m.Update(rollout.Event{Step: "wave", Wave: 1, Waves: 2, Hosts: hosts[:1]}, noon)
	m.Update(rollout.Event{Host: hosts[0].Name, Step: "watch"}, noon)
	m.Update(rollout.Event{Host: hosts[0].Name, Outcome: rollout.Rotated}, noon)
	m.Update(rollout.Event{Step: "soak", Wave: 1, Waves: 2, Lasts: time.Minute, Hosts: hosts[:1]}, noon)
	m.Update(rollout.Event{Host: hosts[0].Name, Step: "undo"}, noon)
	m.Update(rollout.Event{Host: hosts[0].Name, Outcome: rollout.RolledBack}, noon)
	if got := m.View(Style{ASCII: true}, noon); !strings.Contains(got, "\n< 1 rolled_back") || strings.Contains(got, "rotated") || !strings.Contains(got, "1/2") {
		t.Error(got)
	}
}
