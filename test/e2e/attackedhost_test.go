//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// The adversary's paths on a host. Its log belongs to root, who opens it for the adversary.
const (
	adversaryDir  = "/var/lib/e2e-adversary"
	adversaryLog  = adversaryDir + "/log"
	adversaryOver = "/var/lib/e2e-over"
)

// canary is a file that only root may read, in a form that the program would
// show if it read it as the agent's log or configuration.
type canary struct{ path, text string }

// attackedHost is a host with an adversary, and the files that must not change there.
type attackedHost struct {
	*world
	h        *fleet.Host
	dir      string // on this machine, for files of the program
	path     string // of the certificate
	config   string // its text
	live     string // the certificate that must be live
	canaries []canary
	before   map[string]string // root's files
	health   map[string]any
}

// newAttackedHost installs the canaries and the adversary on a host.
func newAttackedHost(w *world, h *fleet.Host, path string) *attackedHost {
	own := *w
	s := &attackedHost{world: &own, h: h, dir: w.t.TempDir(), path: path, live: "old",
		health: map[string]any{"window": "0s", "timeout": "10s", "confirm_timeout": "15s"}}
	secret := func(n int) string { return fmt.Sprintf("canary%d-%s", n, w.certs["old"].Leaf.Thumbprint) }
	s.canaries = []canary{
		{"/root/canary-log", "2999-01-01T00:00:00.000000Z ERROR m::p: Failed to authenticate: AADSTS700027: " + secret(1) + "\n"},
		{"/etc/canary-yaml", "agent_id: " + secret(2) + "\nsecret_providers: [{key_vault: {service_principal: {cert_path: /" + secret(3) + "}}}]\n"},
		{"/root/trap/secrets/certificate.p12", secret(4)},
		{"/root/trap/certificate.p12", secret(5)},
	}
	for _, c := range s.canaries {
		name := filepath.Join(h.Root, c.path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(c.text), 0o600)); err != nil {
			w.t.Fatal(err)
		}
	}
	dir := filepath.Join(h.Root, adversaryDir)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		w.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "adversary"), "github.com/aoifleet/aoifleet/test/adversary")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	// An agent that waits for a FIFO is killed soon after its stop.
	w.shell(h, "chmod 777 "+adversaryDir+"; chmod 755 "+adversaryDir+"/adversary; "+
		"mkdir -p "+limitDir+"; printf '[Service]\\nTimeoutStopSec=1s\\n' >"+limitDir+"/stop.conf; systemctl daemon-reload")
	config, err := os.ReadFile(filepath.Join(h.Root, fleet.AgentConfig))
	if err != nil {
		w.t.Fatal(err)
	}
	s.config = string(config)
	s.before = s.rootFiles()
	return s
}

// attack starts the adversary as a user of the host. stop ends it and returns
// its log.
func (s *attackedHost) attack(user string, args ...string) (stop func() string) {
	s.t.Helper()
	s.shell(s.h, "rm -f "+adversaryOver+" "+adversaryLog)
	ctx, cancel := context.WithCancel(s.t.Context())
	var group sync.WaitGroup
	var failure error
	group.Go(func() {
		_, failure = s.h.Shell(ctx, "exec "+as(user)+adversaryDir+"/adversary "+
			args[0]+" -until "+adversaryOver+" "+strings.Join(args[1:], " ")+" >"+adversaryLog)
	})
	return func() string {
		s.t.Helper()
		s.shell(s.h, "touch "+adversaryOver)
		group.Wait()
		cancel()
		if failure != nil {
			s.t.Error(failure)
		}
		log, err := os.ReadFile(filepath.Join(s.h.Root, adversaryLog))
		if err != nil {
			s.t.Error(err)
		}
		return string(log)
	}
}

// as returns the beginning of a command that runs with a user's rights.
func as(user string) string {
	return "setpriv --reuid=" + user + " --regid=" + user + " --clear-groups "
}

// attempt is one run of the program under attack.
type attempt struct {
	verb    string
	outcome string
	host    *report.Host
	code    int
	printed string // its whole output
	ended   bool
	took    time.Duration
}

func (a attempt) String() string {
	why := ""
	if a.host != nil && a.host.Error != nil {
		why = string(a.host.Error.Class) + ": " + a.host.Error.Message
	}
	return fmt.Sprintf("%s: %s, exit code %d, %.1f s %.150s", a.verb, a.outcome, a.code, a.took.Seconds(), why)
}

// patience is the limit of a run: more than twice the sum of the limits of its waits.
const patience = 2 * time.Minute

// begin starts the program for this host only.
func (s *attackedHost) begin(certificate, verb string, more ...string) (end func() attempt) {
	s.t.Helper()
	inventory := filepath.Join(s.dir, "inventory.yaml")
	if err := s.fleet.WriteInventory(inventory, fleet.Inventory{Certificate: s.file(certificate), Defaults: map[string]any{"health": s.health}}); err != nil {
		s.t.Fatal(err)
	}
	args := append([]string{verb, "-i", inventory, "--limit", s.h.Name, "-o", "json"}, more...)
	if slices.Contains([]string{"rotate", "recover", "rollback"}, verb) {
		args = append(args, "--yes")
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	cmd := s.fleet.Command(ctx, s.program, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(s.dir, "state"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return func() attempt {
		defer cancel()
		_ = cmd.Wait() // the exit code shows the result
		a := attempt{verb: verb + " " + strings.Join(more, " "), outcome: "none", code: cmd.ProcessState.ExitCode(),
			printed: stdout.String() + stderr.String(), ended: ctx.Err() == nil, took: time.Since(began)}
		document := &report.Document{}
		if json.Unmarshal(stdout.Bytes(), document) == nil && len(document.Hosts) == 1 && document.Hosts[0].Outcome != nil {
			a.host, a.outcome = &document.Hosts[0], *document.Hosts[0].Outcome
		}
		return a
	}
}

func (s *attackedHost) run(certificate, verb string, more ...string) attempt {
	s.t.Helper()
	return s.begin(certificate, verb, more...)()
}

// checkUnharmed checks root's files and the data that reached this machine. It repairs
// the canaries, so that the next run shows only its own harm.
func (s *attackedHost) checkUnharmed(a attempt) bool {
	s.t.Helper()
	s.t.Log(a)
	harm := append(differences(s.before, s.rootFiles()), s.stateFolderProblems()...)
	for _, c := range s.canaries {
		if name := leaked(c, a.printed, filepath.Join(s.dir, "state")); name != "" {
			harm = append(harm, "root's "+c.path+" came to the workstation: "+name)
		}
	}
	if !a.ended {
		harm = append(harm, "the program does not end")
	}
	for _, h := range harm {
		s.t.Errorf("%s: %v: %s", s.h.Name, a, h)
	}
	if len(harm) > 0 {
		s.repair()
	}
	return len(harm) == 0
}

// repair restores root's files.
func (s *attackedHost) repair() {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, "state")); err != nil {
		s.t.Error(err)
	}
	for _, c := range s.canaries {
		name := filepath.Join(s.h.Root, c.path)
		if err := errors.Join(os.RemoveAll(name), os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(c.text), 0o600)); err != nil {
			s.t.Fatal(err)
		}
	}
	s.shell(s.h, "rm -rf /root/missing /etc/ld.so.preload.canary /canary*; grep -rl canary /var/lib/aoifleet | xargs -r rm -f")
	s.before = s.rootFiles()
}

// restoreHost restores the files of the agent's user after an attack, and checks that
// the host works again.
func (s *attackedHost) restoreHost() {
	s.t.Helper()
	s.shell(s.h, "for d in $(dirname $(dirname $(dirname "+s.path+"))) $(dirname $(dirname "+s.path+")) $(dirname "+s.path+"); do "+
		"[ -d $d ] && [ ! -L $d ] || { rm -rf $d; install -d -m 750 -o az-aoi-ingestion -g az-aoi-ingestion $d; }; done; "+
		"for f in "+fleet.LogPath+" "+fleet.AgentConfig+"; do [ -f $f ] && [ ! -L $f ] || { rm -rf $f; install -m 644 -o az-aoi-ingestion -g az-aoi-ingestion /dev/null $f; }; done; "+
		"rm -rf "+s.path+"; install -m 600 -o az-aoi-ingestion -g az-aoi-ingestion /dev/null "+s.path)
	s.write(s.h, fleet.AgentConfig, s.config)
	if err := os.WriteFile(filepath.Join(s.h.Root, s.path), s.certs[s.live].Canonical(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.shell(s.h, "systemctl reset-failed "+fleet.AgentUnit+"; systemctl restart "+fleet.AgentUnit)
	if a := s.run(s.live, "recover"); !a.ended {
		s.t.Errorf("%s: recover does not end", s.h.Name)
	}
	next := s.otherCertificate()
	a := s.run(next, "rotate", "--force")
	if a.outcome != "rotated" {
		s.t.Errorf("%s: the next rotation: %v\n%s", s.h.Name, a, a.printed)
	}
	s.checkUnharmed(a)
	s.live = next
	s.liveAt(s.h, s.path, next)
	if s.t.Failed() { // leftovers would fail every later check
		s.shell(s.h, "systemctl stop 'aoifleet-*'; rm -rf /var/lib/aoifleet /etc/systemd/system/aoifleet-* /etc/systemd/system/*/aoifleet-* "+filepath.Dir(s.path)+"/.aoifleet-*")
	}
}

// otherCertificate returns the certificate that is not live.
func (s *attackedHost) otherCertificate() string {
	if s.live == "old" {
		return "new"
	}
	return "old"
}

// powerCycle ends the processes of a run that did not end.
func (s *attackedHost) powerCycle(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.h.PowerCut(t.Context()), s.h.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
}
