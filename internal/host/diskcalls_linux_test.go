//go:build matrix && amd64

package host

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/matrix"
)

var (
	diskCases = flag.Int("disk-cases", 75, "run this `NUMBER` of cases of TestDiskCalls; 0: all")
	diskSeed  = flag.Uint64("disk-seed", 1, "choose them with this `SEED`")
	diskCase  = flag.String("disk-case", "", "run only this `CASE` of TestDiskCalls")
)

// actor is a process of the script whose system calls TestDiskCalls breaks.
type actor struct {
	name    string
	text    string                // the new file
	ending  Ending                // without a fault
	prepare func(*machine)        // nil: nothing
	run     func(*machine) result // the process
	from    string                // the first call that others don't cover
	files   []changed             // of a change of several; nil: the certificate
}

// The time-outs are short, because a fault may make the script wait that long.
var actors = []actor{
	{name: "rotate", text: newBytes, ending: Rotated, run: func(m *machine) result {
		return m.rotate(firstRun, newBytes, "thumbprint=ABCD", "timeout=30")
	}},
	{name: "undo", text: badBytes, ending: RolledBack, run: func(m *machine) result {
		return m.rotate(firstRun, badBytes, "thumbprint=ABCD", "timeout=30")
	}, from: "rename "},
	{name: "rotate, three files", text: newBytes, ending: Rotated, files: threeFiles, run: func(m *machine) result {
		return m.changeThree(newBytes)
	}},
	{name: "undo, three files", text: badBytes, ending: RolledBack, files: threeFiles, run: func(m *machine) result {
		return m.changeThree(badBytes)
	}, from: "rename "},
	{name: "recover", text: badBytes, ending: RolledBack, prepare: interrupted, run: (*machine).recover},
	{name: "timer", text: badBytes, ending: RolledBack, prepare: func(m *machine) { interrupted(m); m.due() }, run: (*machine).tick},
	{name: "guard", text: badBytes, prepare: interrupted, run: (*machine).boots},
}

// changeThree changes the three files, the certificate to text.
func (m *machine) changeThree(text string) result {
	m.t.Helper()
	return m.changeFiles(firstRun, withText(threeFiles, text), "thumbprint=ABCD", "timeout=30")
}

// disks returns the disks of an actor, each of which may fail alone.
func (a actor) disks() []string {
	all := slices.Clone(disks)
	for _, f := range a.files {
		if folder := filepath.Dir(f.path); !slices.Contains(all, folder) {
			all = append(all, folder)
		}
	}
	return all
}

// boots is the boot after a power failure. If the guard fails, the agent starts nevertheless.
func (m *machine) boots() result {
	m.t.Helper()
	m.powerOff()
	r := result{}
	for _, guard := range m.guards() {
		if script := m.guardScript(guard); script != "" {
			r.stderr, r.exit = m.unattended(script)
			m.shell = []string{"dash"}
			m.afterGuard(script, serviceResult(r.exit))
		}
	}
	m.agentBoots()
	m.state(fmt.Sprintf("started=%d", m.uptime()))
	return r
}

// serviceResult returns what systemd calls the end of a process.
func serviceResult(exit int) string {
	switch exit {
	case 0:
		return "success"
	case -1:
		return "signal"
	}
	return "exit-code"
}

// The disks of a machine: /var, /etc, and one for the certificates.
var disks = []string{"/var/lib", "/etc/systemd/system", filepath.Dir(certPath)}

// diskCall is a system call of an actor that changes the disk, as test/inject records it.
type diskCall struct {
	Call, Error string
	Main        bool
	Live        string
}

// diskFault is a fault of test/inject; after a power failure the disks in lost have none
// of their unsynced changes.
type diskFault struct {
	word string
	lost []string
}

func (f diskFault) String() string { return strings.Join(append([]string{f.word}, f.lost...), " ") }

var diskFaults = []diskFault{
	{word: "killed-before"}, {word: "killed-after"}, {word: "program-killed"},
	{word: "EIO"}, {word: "ENOSPC"}, {word: "EROFS"}, {word: "read-only"},
	{"power", disks}, {"power", disks[:1]}, {"power", disks[1:2]}, {"power", disks[2:]},
}

// brokenCall is one case.
type brokenCall struct {
	actor
	call  diskCall
	fault diskFault
}

func (c brokenCall) String() string {
	return fmt.Sprintf("%s, %s, %s", c.name, c.call.Call, c.fault)
}

// TestDiskCalls breaks each system call with which the script changes a name, a file or
// its attributes, or syncs one: in a rotation, an undo, recover, the timer's undo and the
// guard's. The script, or only the program that makes the call, is killed before it, or
// after it; the call fails; the power fails, and the disks lose what was not synced. After
// the deadline the host has a healthy agent, the reports are true, and the next run
// succeeds.
func TestDiskCalls(t *testing.T) {
	inject := filepath.Join(t.TempDir(), "inject")
	if out, err := exec.Command("go", "build", "-o", inject, "github.com/aoifleet/aoifleet/test/inject").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := &bench{inject: inject}
	var all []brokenCall
	var counts []string
	for _, a := range actors {
		cases := b.cases(t, a)
		all = append(all, cases...)
		calls := map[string]bool{}
		for _, c := range cases {
			calls[c.call.Call] = true
		}
		counts = append(counts, fmt.Sprintf("| %s | %d | %d |\n", a.name, len(calls), len(cases)))
	}
	matrix.Section(t, "calls", "| process | calls | cases |\n|---|---|---|\n"+strings.Join(counts, "")+fmt.Sprintf("\n%d cases.\n", len(all)))
	t.Run("case", func(t *testing.T) {
		for _, c := range chosen(t, all) {
			t.Run(c.String(), func(t *testing.T) { t.Parallel(); b.try(t, c) })
		}
	})
}

// finders are parts of the names of cases that have found a fault of the script.
var finders = []string{
	"backups/…/receipt #1, ENOSPC", // it was written in several parts, of which only the last was checked
	"undo, sync fsync /etc/az-aoi-ingestion #2, EIO",
	"timer, sync fsync /etc/az-aoi-ingestion #2, EIO",
	"guard, cp write /etc/az-aoi-ingestion/.aoifleet-… #1, killed-before",
	"undo.log #1, ENOSPC",
	"backups/… #1, power /etc/systemd/system",
	"undo, rm unlink /var/lib/aoifleet/az-aoi-ingestion.service/staged-… #1, EROFS",
}

// chosen returns the cases to run, as the flags say: of a number, those that have found
// something, and equally many of each actor and fault.
func chosen(t *testing.T, all []brokenCall) []brokenCall {
	t.Helper()
	if *diskCase != "" {
		one := slices.DeleteFunc(all, func(c brokenCall) bool { return c.String() != *diskCase })
		if len(one) == 0 {
			t.Fatalf("no case %q", *diskCase)
		}
		return one
	}
	if *diskCases == 0 || *diskCases >= len(all) {
		return all
	}
	order := rand.New(rand.NewPCG(*diskSeed, 0))
	order.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	turn, turns := map[string]int{}, map[string]int{}
	for _, c := range all {
		kind := c.name + c.fault.String()
		turn[c.String()] = turns[kind]
		turns[kind]++
		if slices.ContainsFunc(finders, func(part string) bool { return strings.Contains(c.String(), part) }) {
			turn[c.String()] = -1
		}
	}
	slices.SortStableFunc(all, func(a, b brokenCall) int { return turn[a.String()] - turn[b.String()] })
	return all[:*diskCases]
}

// bench runs actors under test/inject.
type bench struct{ inject string }

// machine returns a machine that is ready for the actor.
func (b *bench) machine(t *testing.T, a actor) *machine {
	t.Helper()
	m := newMachine(t)
	m.mkdir("/first", 0o755)
	m.faults = m.root + "/first"
	m.realSync(false)
	if a.prepare != nil {
		a.prepare(m)
	}
	m.have(a.files)
	return m
}

// realSync makes sync(1) the real program, whose calls are traced, or the stand-in.
func (m *machine) realSync(yes bool) {
	m.t.Helper()
	sync, link := tools+"/bin/sync", m.root+"/first/sync"
	if yes {
		var err error
		sync, err = exec.LookPath("sync")
		m.must(err)
	}
	_ = os.Remove(link)
	m.must(os.Symlink(sync, link))
}

// run runs the actor and returns its result and its calls.
func (b *bench) run(m *machine, a actor, more ...string) (result, []diskCall) {
	m.t.Helper()
	record := filepath.Join(m.t.TempDir(), "calls")
	m.shell = []string{b.inject, "-root", m.root, "-except", tools + "/bin", "-live", m.root + certPath, "-record", record}
	for _, d := range a.disks() {
		m.shell = append(m.shell, "-only", d, "-disks", d)
	}
	m.shell = append(append(m.shell, more...), "--", "dash")
	m.realSync(true)
	r := a.run(m)
	if r.exit == 125 { // its own failure ends the script too
		m.t.Errorf("test/inject has failed: %v", r)
	}
	m.realSync(false)
	m.shell = []string{"dash"}
	data, err := os.ReadFile(record)
	m.must(err)
	var calls []diskCall
	for line := range strings.Lines(string(data)) {
		var c diskCall
		m.must(json.Unmarshal([]byte(line), &c))
		calls = append(calls, c)
	}
	return r, calls
}

// cases returns all cases of an actor, from a run without a fault.
func (b *bench) cases(t *testing.T, a actor) []brokenCall {
	t.Helper()
	m := b.machine(t, a)
	before := m.ownerOrNone()
	r, calls := b.run(m, a)
	if a.ending != "" {
		m.wants(r, a.ending)
	}
	if len(calls) < 5 {
		t.Fatalf("%s: %v", a.name, calls)
	}
	m.neverTorn(calls, a, before)
	if a.from != "" {
		first := slices.IndexFunc(calls, func(c diskCall) bool { return strings.Contains(c.Call, a.from) })
		calls = calls[first+1:]
	}
	var all []brokenCall
	for _, c := range calls {
		for _, f := range diskFaults {
			// The main process is the script.
			if c.Error == "" && (f.word != "program-killed" || !c.Main) {
				all = append(all, brokenCall{a, c, f})
			}
		}
	}
	return all
}
