package host

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// recorded is the file with the steps of real runs. test/model replays them in the model.
const recorded = "../../test/model/testdata/steps.txt"

// steps are the commands of the script that are a step of the model, by its name there.
var steps = []struct {
	name string
	call *regexp.Regexp
}{
	{"mkdir", regexp.MustCompile(`^mkdir -- \S+/backups/\S+$`)},
	{"alive", regexp.MustCompile(`^flock -n 7$`)},
	{"lock-receipt", regexp.MustCompile(`^flock -n 5$`)},
	{"lock", regexp.MustCompile(`^flock -w \d+ 6$`)},
	{"pending", regexp.MustCompile(`^ln -T -- \S+/receipt \S+/pending$`)},
	{"keep", regexp.MustCompile(`^cp .* \S+/backups/\S+/certificate(\.\d)?$`)},
	{"copy", regexp.MustCompile(`^cp -aT .* \./\.aoifleet-\S+$`)},
	{"guard", regexp.MustCompile(`^ln -sfT .*aoifleet-guard`)},
	{"flush", regexp.MustCompile(`^sync -- .*/receipt \S+ \S+/backups \S+ \.$`)},
	{"flush-one", regexp.MustCompile(`^sync -- \S+/certificate(\.\d)? \./\.aoifleet-\S+ \S+ \.$`)},
	{"flush-copy", regexp.MustCompile(`^sync -- \./\.aoifleet-\S+ \.$`)},
	{"sync-cert", regexp.MustCompile(`^sync -- \.$`)},
	{"sync-state", regexp.MustCompile(`^sync -- /var/lib/\S+$`)},
	{"timer", regexp.MustCompile(`^systemd-run `)},
	{"swap", regexp.MustCompile(`^mv -T -- \./\.aoifleet-\S+ \./`)},
	{"restart", regexp.MustCompile(`^systemctl restart `)},
	{"confirm", regexp.MustCompile(`^mv -T -- \S+/pending \S+/confirmed$`)},
	{"claim", regexp.MustCompile(`^mv -T -- \S+/pending \S+/undoing$`)},
	{"finish", regexp.MustCompile(`^mv -T -- \S+/undoing \S+/(rolled-back|failed)$`)},
	{"no-backup", regexp.MustCompile(`^rm -f -- \S+/receipt( \S+/certificate[.*\d]*)+$`)},
	{"no-backup", regexp.MustCompile(`^rm -f -- \S+/receipt( \S+/certificate[.*\d]*)+ \S+/staged-\S+$`)},
	{"no-pending", regexp.MustCompile(`^rm -f -- \S+/receipt( \S+/certificate[.*\d]*)+ \S+/pending `)},
	{"no-guard", regexp.MustCompile(`^rm -f -- .*aoifleet-guard\S+$`)},
	{"no-timer", regexp.MustCompile(`^systemctl stop aoifleet-undo\S+$`)},
	{"no-script", regexp.MustCompile(`^rm -f -- \S+/deadline \S+/host\.sh$`)},
	{"hold", regexp.MustCompile(`^sync -- \S+/aoifleet-\S+\.conf \S+ \S+$`)},
	{"installing", regexp.MustCompile(`^sync -- \S+/installing \S+$`)},
	{"install", regexp.MustCompile(`^dpkg `)},
	{"unhold", regexp.MustCompile(`^sync -- \S+\.service\.d$`)},
	{"no-folder", regexp.MustCompile(`^rm -rf -- \S+/receipt( \S+/certificate[.*\d]*)+ \S+/staged-\S+ \S+$`)},
}

// recording is what the processes of a story did, in their order: a process and its step
// on each line.
type recording struct {
	m     *machine
	files []changed // of the change; nil: the certificate
	text  strings.Builder
}

// did adds the steps of a process since the last call, and how it ended: end, or kill.
func (r *recording) did(process, end string) {
	r.m.t.Helper()
	for call := range strings.Lines(strings.ReplaceAll(r.m.read("/faults/calls"), r.m.root, "")) {
		_, call, _ = strings.Cut(strings.TrimSpace(call), " ")
		for _, step := range steps {
			if step.call.MatchString(call) {
				r.text.WriteString(process + " " + step.name + "\n")
			}
		}
	}
	r.m.write("/faults/calls", "")
	if end != "" {
		r.text.WriteString(process + " " + end + "\n")
	}
}

// rotate changes the files, the first of them to text.
func (r *recording) rotate(text string) result {
	r.m.t.Helper()
	if r.m.packages {
		return r.m.upgrade(firstRun)
	}
	if r.files == nil {
		return r.m.rotate(firstRun, text)
	}
	return r.m.changeFiles(firstRun, withText(r.files, text))
}

// killed records a rotation that is killed before or after one call of a command, whose
// first call is 1. It leaves out the step that was not done.
func (r *recording) killed(command string, at int, mode string) {
	r.m.t.Helper()
	m := r.m
	n, times := 0, 0
	m.faults = tools + "/counted"
	m.wants(r.rotate(newBytes), Rotated)
	for line := range strings.Lines(m.read("/faults/calls")) {
		n++
		if strings.Fields(line)[1] == command {
			if times++; times == at {
				break
			}
		}
	}
	packages := m.packages
	*m = *newMachine(m.t)
	m.have(r.files)
	if packages {
		m.packaged()
	}
	m.faults = tools + "/counted"
	m.write("/faults/plan", fmt.Sprintln(n, mode))
	r.rotate(newBytes)
	m.write("/faults/plan", "none\n")
	if mode == "killed-before" {
		calls := strings.TrimSpace(m.read("/faults/calls"))
		m.write("/faults/calls", calls[:strings.LastIndexByte(calls, '\n')+1])
	}
	r.did("run", "kill")
}

func (r *recording) ticks() { r.m.due(); r.m.tick(); r.did("timer", "end") }

func (r *recording) recovers() { r.m.recover(); r.did("recover", "end") }

func (r *recording) boots() {
	r.text.WriteString("world power\n")
	r.m.reboot()
	r.did("boot", "end")
}

// recordings are the stories whose steps test/model replays.
var recordings = []struct {
	name  string
	files []changed
	run   func(r *recording)
}{
	{"confirmed", nil, func(r *recording) {
		r.m.wants(r.m.rotate(firstRun, newBytes), Rotated)
		r.did("run", "end")
	}},
	{"unhealthy", nil, func(r *recording) {
		r.m.wants(r.m.rotate(firstRun, badBytes), RolledBack)
		r.did("run", "end")
	}},
	{"no timer", nil, func(r *recording) {
		r.m.write("/unit/lose-timer", "")
		r.m.wants(r.m.rotate(firstRun, newBytes), Refused)
		r.did("run", "end")
	}},
	{"the answer is late", nil, func(r *recording) {
		w := r.m.waiting(firstRun)
		r.did("run", "")
		r.ticks()
		r.m.wants(r.m.answered(w, "confirm "+firstRun), RolledBack)
		r.did("run", "end")
	}},
	{"recover is quicker", nil, func(r *recording) {
		w := r.m.waiting(firstRun)
		r.did("run", "")
		r.m.due()
		r.recovers()
		r.m.wants(r.m.answered(w, "confirm "+firstRun), RolledBack)
		r.did("run", "end")
	}},
	{"killed before the timer", nil, func(r *recording) { r.killed("systemd-run", 1, "killed-before"); r.recovers() }},
	{"killed after the swap, tick", nil, func(r *recording) { r.killed("mv", 1, "killed-after"); r.ticks() }},
	{"killed after the swap, recover", nil, func(r *recording) { r.killed("mv", 1, "killed-after"); r.recovers() }},
	{"killed after the swap, power cut", nil, func(r *recording) { r.killed("mv", 1, "killed-after"); r.boots(); r.recovers() }},
	{"killed after the restart, tick", nil, func(r *recording) { r.killed("systemctl", 5, "killed-before"); r.ticks() }},
	{"killed before confirm, power cut", nil, func(r *recording) { r.killed("mv", 2, "killed-before"); r.boots(); r.recovers() }},
	{"killed after confirm, tick", nil, func(r *recording) { r.killed("mv", 2, "killed-after"); r.ticks() }},
	{"killed after confirm, the next run", nil, func(r *recording) {
		r.killed("mv", 2, "killed-after")
		r.m.wants(r.m.rotate(secondRun, oldBytes), Rotated)
		r.did("second", "end")
	}},
	{"killed after confirm, recover", nil, func(r *recording) { r.killed("mv", 2, "killed-after"); r.recovers() }},
	{"three files, confirmed", modelled, func(r *recording) {
		r.m.wants(r.rotate(newBytes), Rotated)
		r.did("run", "end")
	}},
	{"three files, unhealthy", modelled, func(r *recording) {
		r.m.wants(r.rotate(badBytes), RolledBack)
		r.did("run", "end")
	}},
	{"three files, killed before the second swap, tick", modelled, func(r *recording) { r.killed("mv", 2, "killed-before"); r.ticks() }},
	{"three files, killed after the second swap, recover", modelled, func(r *recording) { r.killed("mv", 2, "killed-after"); r.recovers() }},
	{"three files, killed before the third swap, power cut", modelled, func(r *recording) { r.killed("mv", 3, "killed-before"); r.boots(); r.recovers() }},
	{"three files, killed before confirm, power cut", modelled, func(r *recording) { r.killed("mv", 4, "killed-before"); r.boots(); r.recovers() }},
}

// ofPackages are those with a package. The call of mv is of its two files, the swap, the receipt.
var ofPackages = map[string]func(r *recording){
	"confirmed": func(r *recording) {
		r.m.wants(r.rotate(""), Rotated)
		r.did("run", "end")
	},
	"unhealthy": func(r *recording) {
		r.m.started(failsWithNew)
		r.m.wants(r.rotate(""), RolledBack)
		r.did("run", "end")
	},
	"killed before the installation, tick":           func(r *recording) { r.killed("dpkg", 1, "killed-before"); r.ticks() },
	"killed after the installation, recover":         func(r *recording) { r.killed("dpkg", 1, "killed-after"); r.recovers() },
	"killed after the installation, power cut, tick": func(r *recording) { r.killed("dpkg", 1, "killed-after"); r.boots(); r.ticks() },
	"killed before confirm, power cut, recover":      func(r *recording) { r.killed("mv", 4, "killed-before"); r.boots(); r.recovers() },
	"killed after confirm, tick":                     func(r *recording) { r.killed("mv", 4, "killed-after"); r.ticks() },
	"killed after confirm, power cut":                func(r *recording) { r.killed("mv", 4, "killed-after"); r.boots() },
}

// modelled are three files for the model, in which each has old and new bytes.
var modelled = []changed{
	{path: certPath, before: oldBytes, after: newBytes},
	{path: "/etc/az-aoi-ingestion/config.d/a.yaml", before: "a", after: "b"},
	{path: "/srv/secrets/one", before: "one", after: "two"},
}

// TestModelRecordings compares the steps of real runs with the recorded ones. With
// AOIFLEET_WRITE_DOCS it writes them.
func TestModelRecordings(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	stories := slices.Clone(recordings)
	for _, name := range slices.Sorted(maps.Keys(ofPackages)) {
		stories = append(stories, recordings[0])
		last := &stories[len(stories)-1]
		last.name, last.run = "package, "+name, ofPackages[name]
	}
	for _, s := range stories {
		m := newMachine(t)
		m.have(s.files)
		if strings.HasPrefix(s.name, "package, ") {
			m.packaged()
		}
		m.faults = tools + "/counted"
		r := &recording{m: m, files: s.files}
		s.run(r)
		fmt.Fprintf(&all, "# %s\n%s\n", s.name, r.text.String())
	}
	if os.Getenv("AOIFLEET_WRITE_DOCS") != "" {
		if err := os.WriteFile(recorded, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != all.String() {
		t.Errorf("the script does other steps than those that the model knows:\n%s", all.String())
	}
}
