//go:build matrix && linux

package matrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/report"
)

// patience is for what comes by itself: the longest deadline is that of an undo
// that is tried again.
const patience = 60 * time.Second

// TestFaultMatrix strikes at every step of a rotation, and sees what the host
// and the report say in the end.
func TestFaultMatrix(t *testing.T) {
	all := trials()
	f, err := lab.Start(t.Context(), lab.Options{Machines: len(all), Name: func(i int) string { return fmt.Sprintf("m-%03d", i) }})
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
			t.Run(tr.fault+", "+tr.step, func(t *testing.T) {
				t.Parallel()
				s.rows[i] = s.try(t, f.Machines()[i], tr)
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

// ground is one trial under way.
type ground struct {
	*suite
	t         *testing.T
	m         *lab.Machine
	dir       string
	inventory string
	old, new  []byte
	still     time.Time // since when no timer is there; zero: one is
}

func (s *suite) try(t *testing.T, m *lab.Machine, tr trial) Row {
	g := &ground{suite: s, t: t, m: m, dir: t.TempDir()}
	g.lay(tr.health)
	g.old = g.live()
	var err error
	if g.new, err = os.ReadFile(filepath.Join(s.fleet.Dir(), "certs", "new.p12.b64")); err != nil {
		t.Fatal(err)
	}
	if tr.lab != "" {
		g.must(m.SetFault(tr.lab))
	}
	before, boot := m.AgentState().InvocationID, m.BootID()
	stop := g.sample()
	said := g.rotate(tr.killAt)
	atOnce := g.open()
	g.must(m.SetFault())
	row := Row{Step: tr.step, Fault: tr.fault, Reported: "none", Settled: "the run"}
	if said != nil {
		row.Reported = *said.Outcome
		g.truthful(said, before, m.BootID() != boot)
	}
	if atOnce != "" || row.Reported == "unknown" || said == nil {
		row.Settled = "the host"
	}
	// It may be on its way down just now.
	rebooted := func() bool { return m.BootID() != boot }
	g.await("the host settles by itself", func() bool { open := g.open(); return open == "" || rebooted() && open == "undoing" })
	g.healthy()
	if g.open() != "" {
		row.Settled = "a reboot, then recover"
		g.run(0, "recover", "--yes")
		g.healthy()
	}
	row.Found = g.found()
	if !g.await("nothing of the switch is left", func() bool { return rebooted() || len(g.armed()) == 0 || g.inert() }) || len(g.armed()) > 0 {
		if row.Settled = "recover"; rebooted() {
			row.Settled = "a reboot, then recover"
		}
		g.run(0, "recover", "--yes")
	}
	g.lay(calm)
	g.again()
	stop()
	if !bytes.Equal(g.live(), g.new) {
		t.Error("the next rotation did not bring the new certificate")
	}
	g.healthy()
	g.nothingLeft()
	return row
}

// lay writes the trial's inventory.
func (g *ground) lay(health string) {
	g.t.Helper()
	data, err := os.ReadFile(g.fleet.InventoryFile())
	g.must(err)
	if health == "" {
		health = quick
	}
	text := regexp.MustCompile(`(?m)^  health: .*$`).ReplaceAllLiteralString(string(data), "  health: "+health)
	text = strings.ReplaceAll(text, "certs/", filepath.Join(g.fleet.Dir(), "certs")+"/")
	g.inventory = filepath.Join(g.dir, "inventory.yaml")
	g.must(os.WriteFile(g.inventory, []byte(text), 0o600))
}

func (g *ground) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *ground) command(verb string, more ...string) *exec.Cmd {
	args := append([]string{verb, "-i", g.inventory, "--limit", g.m.Name, "-o", "json"}, more...)
	cmd := exec.Command(g.program, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+g.dir)
	return cmd
}

// run runs the program to its end.
func (g *ground) run(want int, verb string, more ...string) {
	g.t.Helper()
	var complaint bytes.Buffer
	cmd := g.command(verb, more...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != want {
		g.t.Errorf("%s: exit code %d, want %d: %v\n%s%s", verb, code, want, err, out, complaint.String())
	}
}

// rotate runs the rotation that is struck, and returns what it reported of the
// host; nil: it was killed.
func (g *ground) rotate(killAt string) *report.Host {
	g.t.Helper()
	cmd := g.command("rotate", "--yes")
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

// awaitStep waits until the journal holds a step: it is written before.
func (g *ground) awaitStep(step string) {
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

// inert tells whether only files of a switch are left, which nothing runs any more:
// the script was killed between the end of its timer and theirs.
func (g *ground) inert() bool {
	if len(g.m.Timers()) > 0 {
		g.still = time.Time{}
	} else if g.still.IsZero() {
		g.still = time.Now()
	}
	return !g.still.IsZero() && time.Since(g.still) > patience/10
}

// await polls what other processes do.
func (g *ground) await(what string, done func() bool) bool {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Errorf("waited in vain: %s", what)
			return false
		}
	}
	return true
}

// sample reads the certificate file without a pause until stop is called: at no
// moment may it be anything but one of the two.
func (g *ground) sample() (stop func()) {
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

func (g *ground) file() string { return filepath.Join(g.m.Root, lab.CertificatePath) }

func (g *ground) live() []byte {
	data, err := os.ReadFile(g.file())
	if err != nil {
		g.t.Errorf("the certificate file: %v", err)
	}
	return data
}

func (g *ground) state() string { return filepath.Join(g.m.Root, "var/lib/aoifleet", lab.Unit) }

// open is the name of a receipt that has not ended.
func (g *ground) open() string {
	for _, name := range []string{"pending", "undoing"} {
		if _, err := os.Stat(filepath.Join(g.state(), name)); err == nil {
			return name
		}
	}
	return ""
}

func (g *ground) found() string {
	if bytes.Equal(g.live(), g.new) {
		return "new certificate, agent healthy"
	}
	return "old certificate, agent healthy"
}

// healthy waits until the agent runs with the certificate that is live.
func (g *ground) healthy() {
	g.t.Helper()
	g.await("a healthy agent with the live certificate", func() bool {
		log, _ := g.m.AgentLog()
		uploads := regexp.MustCompile(`upload finished, thumbprint ([0-9A-F]{40})`).FindAllStringSubmatch(log, -1)
		return g.m.AgentState().Active == "active" && len(uploads) > 0 && uploads[len(uploads)-1][1] == g.m.LiveThumbprint()
	})
}

// truthful: the report claims no more than is so.
func (g *ground) truthful(said *report.Host, before string, rebooted bool) {
	g.t.Helper()
	receipt := func(name string) bool {
		_, err := os.Stat(filepath.Join(g.state(), name))
		return err == nil
	}
	isNew := bytes.Equal(g.live(), g.new)
	ok := false
	switch *said.Outcome {
	case "rotated":
		ok = isNew && receipt("confirmed")
	case "rolled_back":
		ok = !isNew && receipt("rolled-back") && g.open() == ""
	case "refused", "unreachable":
		ok = !isNew && (rebooted || g.m.AgentState().InvocationID == before) && !receipt("confirmed")
	case "unknown":
		ok = said.SettlesAt != nil
	}
	if !ok {
		g.t.Errorf("reported %s; new certificate live: %v; %+v", *said.Outcome, isNew, said.Error)
	}
}

// again rotates once more. A transaction whose operator is gone may yet be at
// work: then the program says so, and is run again.
func (g *ground) again() {
	g.t.Helper()
	g.await("a rotation that ends well", func() bool {
		out, err := g.command("rotate", "--yes").Output()
		if err != nil && !bytes.Contains(out, []byte(`"class": "locked"`)) {
			g.t.Errorf("rotate: %v\n%s", err, out)
			return true
		}
		return err == nil
	})
}

func (g *ground) nothingLeft() {
	g.t.Helper()
	if left := g.left(); len(left) > 0 {
		g.t.Errorf("left: %v", left)
	}
}

// left is what is there of a transaction or of a switch.
func (g *ground) left() []string {
	return append(g.armed(), slices.Concat(g.glob(g.state(), "pending", "undoing", "staged-*"), g.glob(g.m.Root, "etc/az-aoi-ingestion/certs/.aoifleet-*"))...)
}

// armed is what is there of a dead-man switch.
func (g *ground) armed() []string {
	return slices.Concat(g.m.Timers(), g.glob(g.state(), "backups/*/host.sh", "backups/*/deadline"),
		g.glob(g.m.Root, "etc/systemd/system/aoifleet-*", "etc/systemd/system/*/aoifleet-*"))
}

func (g *ground) glob(dir string, patterns ...string) []string {
	var found []string
	for _, pattern := range patterns {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		found = append(found, paths...)
	}
	return found
}
