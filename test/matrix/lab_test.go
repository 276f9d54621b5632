//go:build matrix && linux

package matrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/lab/agent"
	"github.com/aoifleet/aoifleet/internal/report"
)

// patience is the limit of waits: the longest deadline is that of a retried
// undo.
const patience = 60 * time.Second

var everyCase = flag.Bool("every-case", false, "run also the cases that others cover; set while docs/reliability.md is written")

// TestFaultMatrix injects faults at every step of a rotation, and checks the final
// state of the host and the report.
func TestFaultMatrix(t *testing.T) {
	all := trials()
	f, err := lab.Start(t.Context(), lab.Options{Machines: len(all), Name: func(i int) string { return fmt.Sprintf("m-%03d", i) },
		Package: func(name string) (string, string) {
			i, _ := strconv.Atoi(strings.TrimPrefix(name, "m-"))
			return map[bool]string{false: "apt", true: "dnf"}[all[i].both], oldVersion
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &suite{fleet: f, program: filepath.Join(t.TempDir(), "aoifleet"), rows: make([]Row, len(all))}
	if out, err := exec.Command("go", "build", "-o", s.program, "github.com/aoifleet/aoifleet/cmd/aoifleet").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Run("trials", func(t *testing.T) {
		for i, tr := range all {
			s.rows[i] = Row{Step: tr.step, Fault: tr.fault}
			if tr.long && !*everyCase && os.Getenv("AOIFLEET_WRITE_DOCS") == "" {
				continue
			}
			t.Run(tr.fault+", "+tr.step, func(t *testing.T) {
				t.Parallel()
				s.rows[i] = s.runTrial(t, f.Machines()[i], tr)
			})
		}
	})
	if !t.Failed() {
		Publish(t, "lab", s.rows)
	}
}

type suite struct {
	fleet   *lab.Fleet
	program string
	rows    []Row
}

// trialRun is one trial in progress.
type trialRun struct {
	*suite
	t         *testing.T
	m         *lab.Machine
	dir       string
	inventory string
	old, new  []byte
	upgrade   bool
	edit      []string  // the flags that also change the configuration
	config    []byte    // the configuration before
	still     time.Time // start of the time without a timer; zero: there is one
}

func (s *suite) runTrial(t *testing.T, m *lab.Machine, tr trial) Row {
	g := &trialRun{suite: s, t: t, m: m, dir: t.TempDir(), upgrade: tr.upgrade}
	g.writeInventory(tr.health)
	g.old = g.live()
	var err error
	if g.new, err = os.ReadFile(filepath.Join(s.fleet.Dir(), "certs", "new.p12.b64")); err != nil {
		t.Fatal(err)
	}
	if g.config, err = os.ReadFile(g.configFile()); err != nil {
		t.Fatal(err)
	}
	if tr.both {
		g.edit = []string{"--edit", `.log_level = "debug"`}
	}
	if tr.lab != "" {
		g.must(m.SetFault(strings.Split(tr.lab, ";")...))
	}
	before, boot := m.AgentState().InvocationID, m.BootID()
	stop := g.sample()
	result := g.change(tr.killAt)
	atOnce := g.openReceipt()
	g.must(m.SetFault())
	row := Row{Step: tr.step, Fault: tr.fault, Reported: "none", Settled: "the run"}
	if result != nil {
		row.Reported = *result.Outcome
		g.checkReport(result, before, m.BootID() != boot)
	}
	if atOnce != "" || row.Reported == "unknown" || result == nil {
		row.Settled = "the host"
	}
	// The machine may be shutting down.
	rebooted := func() bool { return m.BootID() != boot }
	settles := func() {
		g.await("the host settles by itself", func() bool { open := g.openReceipt(); return open == "" || rebooted() && open == "undoing" })
		g.healthy()
	}
	settles()
	if g.openReceipt() != "" && !rebooted() {
		settles() // the program was killed before the host had made its receipt
	}
	if g.openReceipt() != "" {
		row.Settled = "a reboot, then recover"
		g.run(0, "recover", "--yes")
		g.healthy()
	}
	row.Found = g.found()
	g.together()
	if !g.await("nothing of the switch is left", func() bool { return rebooted() || len(g.switchFiles()) == 0 || g.onlySwitchFilesLeft() }) || len(g.switchFiles()) > 0 {
		if row.Settled = "recover"; rebooted() {
			row.Settled = "a reboot, then recover"
		}
		g.run(0, "recover", "--yes")
	}
	g.writeInventory(longDeadlines)
	g.rotateAgain()
	stop()
	if !g.isNew() {
		t.Error("the next run did not bring what is new")
	}
	g.healthy()
	g.together()
	g.nothingLeft()
	return row
}

// writeInventory writes the trial's inventory.
func (g *trialRun) writeInventory(health string) {
	g.t.Helper()
	data, err := os.ReadFile(g.fleet.InventoryFile())
	g.must(err)
	if health == "" {
		health = shortDeadlines
	}
	text := regexp.MustCompile(`(?m)^  health: .*$`).ReplaceAllLiteralString(string(data), "  health: "+health)
	text = strings.ReplaceAll(text, "certs/", filepath.Join(g.fleet.Dir(), "certs")+"/")
	g.inventory = filepath.Join(g.dir, "inventory.yaml")
	g.must(os.WriteFile(g.inventory, []byte(text), 0o600))
}

func (g *trialRun) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *trialRun) command(verb string, more ...string) *exec.Cmd {
	args := append([]string{verb, "-i", g.inventory, "--limit", g.m.Name, "-o", "json"}, more...)
	cmd := exec.Command(g.program, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+g.dir)
	return cmd
}

// run runs the program and checks its exit code.
func (g *trialRun) run(want int, verb string, more ...string) {
	g.t.Helper()
	var complaint bytes.Buffer
	cmd := g.command(verb, more...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != want {
		g.t.Errorf("%s: exit code %d, want %d: %v\n%s%s", verb, code, want, err, out, complaint.String())
	}
}

// changing returns the command of the change.
func (g *trialRun) changing() *exec.Cmd {
	if g.upgrade {
		return g.command("upgrade", append(g.edit, "--to", newVersion, "--yes")...)
	}
	return g.command("rotate", append(g.edit, "--yes")...)
}

// change makes the change with the fault, and returns its result for the host; nil:
// the program was killed.
func (g *trialRun) change(killAt string) *report.Host {
	g.t.Helper()
	cmd := g.changing()
	var out bytes.Buffer
	cmd.Stdout = &out
	g.must(cmd.Start())
	ended := make(chan struct{})
	if killAt != "" {
		go func() {
			defer close(ended)
			g.awaitStep(killAt)
			_ = cmd.Process.Kill()
		}()
	} else {
		close(ended)
	}
	err := cmd.Wait()
	<-ended
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		g.t.Fatal(err)
	}
	if killAt != "" {
		return nil
	}
	var d report.Document
	if err := json.Unmarshal(out.Bytes(), &d); err != nil || len(d.Hosts) != 1 || d.Hosts[0].Outcome == nil {
		g.t.Fatalf("%v: %s", err, out.String())
	}
	return &d.Hosts[0]
}

// awaitStep waits until the journal contains a step, which is written before the step.
func (g *trialRun) awaitStep(step string) {
	g.await("the step "+step+" in the journal", func() bool {
		files, _ := filepath.Glob(filepath.Join(g.dir, "aoifleet", "runs", "*.jsonl"))
		for _, file := range files {
			data, _ := os.ReadFile(file)
			if bytes.Contains(data, []byte(`"step":"`+step+`"`)) {
				return true
			}
		}
		return false
	})
}

// onlySwitchFilesLeft reports whether only files of a switch are left, without a timer:
// the script was killed after it had removed the timer and before it removed the files.
func (g *trialRun) onlySwitchFilesLeft() bool {
	if len(g.m.Timers()) > 0 {
		g.still = time.Time{}
	} else if g.still.IsZero() {
		g.still = time.Now()
	}
	return !g.still.IsZero() && time.Since(g.still) > patience/10
}

// await polls until a condition holds.
func (g *trialRun) await(what string, done func() bool) bool {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Errorf("timeout: %s", what)
			return false
		}
	}
	return true
}

// sample reads the certificate file continuously until stop is called: it must always
// be one of the two certificates.
func (g *trialRun) sample() (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(4 * time.Millisecond):
			}
			if live := g.live(); !bytes.Equal(live, g.old) && !bytes.Equal(live, g.new) {
				g.t.Errorf("the certificate file held %d other bytes", len(live))
				return
			}
			if info, err := os.Stat(g.file()); err != nil || info.Mode().Perm() != 0o600 {
				g.t.Errorf("the certificate file: %v, %v", info, err)
				return
			}
		}
	})
	return sync.OnceFunc(func() { close(quit); done.Wait() })
}

func (g *trialRun) file() string { return filepath.Join(g.m.Root, lab.CertificatePath) }

func (g *trialRun) live() []byte {
	data, err := os.ReadFile(g.file())
	if err != nil {
		g.t.Errorf("the certificate file: %v", err)
	}
	return data
}

func (g *trialRun) configFile() string { return filepath.Join(g.m.Root, agent.DefaultConfigPath) }

// together checks that the configuration is the one that belongs to the live certificate.
func (g *trialRun) together() {
	g.t.Helper()
	want := string(g.config)
	if len(g.edit) > 0 && g.isNew() {
		want += "log_level: debug\n"
	}
	if got, err := os.ReadFile(g.configFile()); err != nil || string(got) != want {
		g.t.Errorf("%s, and the configuration is: %v\n%s", g.found(), err, got)
	}
}

func (g *trialRun) state() string { return filepath.Join(g.m.Root, "var/lib/aoifleet", lab.Unit) }

// openReceipt returns the name of a receipt that has not ended, or "".
func (g *trialRun) openReceipt() string {
	for _, name := range []string{"pending", "undoing"} {
		if _, err := os.Stat(filepath.Join(g.state(), name)); err == nil {
			return name
		}
	}
	return ""
}

// isNew reports whether the host has what the run brings.
func (g *trialRun) isNew() bool {
	if version, whole := g.m.Installed(); g.upgrade {
		return whole && version == newVersion
	}
	return bytes.Equal(g.live(), g.new)
}

func (g *trialRun) found() string {
	return map[bool]string{false: "old", true: "new"}[g.isNew()] + map[bool]string{false: " certificate", true: " version"}[g.upgrade] + ", agent healthy"
}

// healthy waits until the agent runs with the live certificate, in the installed version.
func (g *trialRun) healthy() {
	g.t.Helper()
	g.await("a healthy agent with the live certificate", func() bool {
		log, _ := g.m.AgentLog()
		uploads := regexp.MustCompile(`upload finished, thumbprint ([0-9A-F]{40})`).FindAllStringSubmatch(log, -1)
		version, whole := g.m.Installed()
		if start := strings.LastIndex(log, "Starting az-aoi-ingestion "); !whole || start < 0 || !strings.HasPrefix(log[start:], "Starting az-aoi-ingestion "+version+",") {
			return false
		}
		return g.m.AgentState().Active == "active" && len(uploads) > 0 && uploads[len(uploads)-1][1] == g.m.LiveThumbprint()
	})
}

// checkReport checks the report against the host.
func (g *trialRun) checkReport(result *report.Host, before string, rebooted bool) {
	g.t.Helper()
	receipt := func(name string) bool {
		_, err := os.Stat(filepath.Join(g.state(), name))
		return err == nil
	}
	isNew := g.isNew()
	ok := false
	switch *result.Outcome {
	case "rotated", "upgraded":
		ok = isNew && receipt("confirmed")
	case "rolled_back":
		ok = !isNew && receipt("rolled-back") && g.openReceipt() == ""
	case "refused", "unreachable":
		ok = !isNew && (rebooted || g.m.AgentState().InvocationID == before) && !receipt("confirmed")
	case "unknown":
		ok = result.SettlesAt != nil
	}
	if !ok {
		g.t.Errorf("reported %s; new certificate live: %v; %+v", *result.Outcome, isNew, result.Error)
	}
}

// rotateAgain rotates once more. A transaction whose program was killed may still
// run: then the rotation is refused, and is retried.
func (g *trialRun) rotateAgain() {
	g.t.Helper()
	g.await("a rotation that ends well", func() bool {
		out, err := g.changing().Output()
		if err != nil && !bytes.Contains(out, []byte(`"class": "locked"`)) {
			g.t.Errorf("rotate: %v\n%s", err, out)
			return true
		}
		return err == nil
	})
}
