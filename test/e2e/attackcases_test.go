//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// attackCase is one attack by a user of the host, at a defined moment: before the
// program starts, or while its script waits.
type attackCase struct {
	name   string
	first  bool                // there is no certificate
	before func(*attackedHost) // before the program starts
	at     point               // where the script is held; empty: it is not held
	inject func(*attackedHost) // while it is held
	verbs  [][]string          // commands of the program, in order
	only   string              // the required outcome; empty: any
	never  string              // an outcome that would not be true
	after  func(*attackedHost) // prepares the host for the next case
}

var rotateOnce = [][]string{{"rotate", "--force"}}

func attackCases() []attackCase {
	var all []attackCase
	for _, more := range []string{"", "--no-deadman"} {
		how := strings.Fields("rotate --force " + more)
		all = append(all,
			attackCase{name: "the log becomes a link after the restart " + more, at: restarted, verbs: [][]string{how},
				inject: func(s *attackedHost) { s.asAgentsUser("ln -sfT /root/canary-log " + fleet.LogPath) }, after: (*attackedHost).freshLog},
			attackCase{name: "the log becomes a FIFO after the restart " + more, at: restarted, verbs: [][]string{how},
				inject: func(s *attackedHost) { s.asAgentsUser("rm -f " + fleet.LogPath + "; mkfifo " + fleet.LogPath) }, after: (*attackedHost).freshLog},
		)
	}
	checks := [][]string{{"plan", "--force"}, {"status"}, {"doctor"}, {"rotate", "--force"}}
	return append(all,
		attackCase{name: "the log is a link", verbs: checks, before: func(s *attackedHost) { s.asAgentsUser("ln -sfT /root/canary-log " + fleet.LogPath) }, after: (*attackedHost).freshLog},
		attackCase{name: "the log is a FIFO", verbs: checks, before: func(s *attackedHost) { s.asAgentsUser("rm -f " + fleet.LogPath + "; mkfifo " + fleet.LogPath) }, after: (*attackedHost).freshLog},
		attackCase{name: "the configuration is a link", verbs: checks, before: func(s *attackedHost) { s.asAgentsUser("ln -sfT /etc/canary-yaml " + fleet.AgentConfig) }, never: "rotated"},
		attackCase{name: "the configuration is a FIFO", verbs: checks, before: func(s *attackedHost) { s.asAgentsUser("rm -f " + fleet.AgentConfig + "; mkfifo " + fleet.AgentConfig) }, never: "rotated"},
		attackCase{name: "the configuration names a file of root's", verbs: rotateOnce, before: func(s *attackedHost) { s.namesInConfig("/etc/canary-yaml") }, only: "refused"},
		attackCase{name: "the configuration names a new file in a folder of root's", verbs: rotateOnce, before: func(s *attackedHost) { s.namesInConfig("/etc/ld.so.preload.canary") }, only: "refused"},
		attackCase{name: "the certificate is a link to nothing in a folder of root's", first: true, verbs: rotateOnce,
			before: func(s *attackedHost) { s.asAgentsUser("ln -sT /etc/ld.so.preload.canary " + s.path) }, only: "refused"},
		attackCase{name: "the certificate is a link to a file of root's", first: true, verbs: rotateOnce,
			before: func(s *attackedHost) { s.asAgentsUser("ln -sT /etc/canary-yaml " + s.path) }, only: "refused"},
		attackCase{name: "the certificate is a FIFO", first: true, verbs: checks,
			before: func(s *attackedHost) { s.asAgentsUser("mkfifo " + s.path) }, never: "rotated"},
	)
}

// asAgentsUser runs a command as the agent's user.
func (s *attackedHost) asAgentsUser(command string) {
	s.t.Helper()
	s.shell(s.h, as(agentsUser)+"sh -c '"+command+"'")
}

// namesInConfig makes the agent's configuration, whose folder belongs to the agent's
// user, name another file as the certificate.
func (s *attackedHost) namesInConfig(path string) {
	s.t.Helper()
	s.asAgentsUser("sed -i \"s|cert_path: .*|cert_path: " + path + "|\" " + fleet.AgentConfig)
}

func (s *attackedHost) freshLog() {
	s.t.Helper()
	s.removeFIFO(fleet.LogPath)
	s.shell(s.h, "rm -f "+fleet.LogPath)
}

// removeFIFO removes a FIFO and releases processes that wait for its other side: an
// open(2) returns as soon as both sides have been opened (fifo(7)).
func (s *attackedHost) removeFIFO(path string) {
	name := filepath.Join(s.h.Root, path)
	if info, err := os.Lstat(name); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return
	}
	file, err := os.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err == nil {
		err = errors.Join(os.Remove(name), file.Close())
	}
	if err != nil {
		s.t.Error(err)
	}
}

// TestAgentsUserGainsNothing runs all attackCases of the agent's user.
func TestAgentsUserGainsNothing(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	h := w.fleet.Host("london-1")
	if err := installTraps(h); err != nil {
		t.Fatal(err)
	}
	w.shell(h, "chown az-aoi-ingestion: /etc/az-aoi-ingestion /etc/az-aoi-ingestion/config.yaml")
	s := newAttackedHost(w, h, fleet.CertificatePath)
	s.health = map[string]any{"window": "1s", "timeout": "5s", "confirm_timeout": "10s"}
	for _, b := range attackCases() {
		t.Run(b.name, func(t *testing.T) {
			s.t = t
			s.runAttack(b)
		})
	}
}

func (s *attackedHost) runAttack(b attackCase) {
	if b.first {
		s.asAgentsUser("rm -f " + s.path)
	}
	if b.before != nil {
		b.before(s)
	}
	traps := &trial{world: s.world, h: s.h}
	for _, verb := range b.verbs {
		if b.at != (point{}) {
			traps.arm(b.at)
		}
		end := s.begin(s.otherCertificate(), verb[0], verb[1:]...)
		if b.at != (point{}) {
			traps.awaitHeld()
			b.inject(s)
			traps.releaseTrap()
		}
		a := end()
		s.checkUnharmed(a)
		if a.outcome == b.never && b.never != "" || a.outcome != b.only && b.only != "" {
			s.t.Errorf("%s: %v: unexpected outcome", s.h.Name, a)
		}
		if !a.ended {
			s.removeFIFO(fleet.LogPath)
			s.removeFIFO(fleet.AgentConfig)
			s.removeFIFO(s.path)
			s.powerCycle(s.t)
			break
		}
	}
	if b.after != nil {
		b.after(s)
	}
	s.restoreHost()
}

// TestLoginUserGainsNothing attacks the login user's part of the work, the staged
// copy.
func TestLoginUserGainsNothing(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	s := newAttackedHost(w, w.fleet.Host("london-1"), fleet.CertificatePath)
	for _, c := range []struct {
		name  string
		args  []string
		sign  string // the text in the log that proves the attack
		never string // an outcome that would not be true
	}{
		{"a link is staged", []string{"stage", "-home", "/home/azureuser", "-with", "link", "-links", "/root/canary-log"}, "stage link", "rotated"},
		{"a FIFO is staged", []string{"stage", "-home", "/home/azureuser", "-with", "fifo"}, "stage fifo", "rotated"},
		{"files of root's in the hands of the user's processes", []string{"grab", "-match", "/var/lib/aoifleet/"}, "saw ", ""},
		{"pipes are held open", []string{"grab", "-keep"}, "grab ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			s.attackStaging(c.args, c.sign, c.never)
		})
	}
}

// attackStaging runs an attack, and retries if the adversary was too slow.
func (s *attackedHost) attackStaging(args []string, sign, never string) {
	times := 3
	if slices.Contains(args, "-keep") {
		times = 1 // it may take the time limit of the step
	}
	for range 5 {
		stop := s.attack("azureuser", args...)
		var runs []attempt
		for range times {
			runs = append(runs, s.run(s.otherCertificate(), "rotate", "--force"))
			if runs[len(runs)-1].outcome == "rotated" {
				s.live = s.otherCertificate()
			}
		}
		if slices.Contains(args, "-keep") {
			s.noWaitingShell()
		}
		log := stop()
		for _, a := range runs {
			s.checkUnharmed(a)
			if never != "" && a.outcome == never && strings.Count(log, sign) >= len(runs) {
				s.t.Errorf("%v: unexpected outcome", a)
			}
		}
		for line := range strings.Lines(log) {
			var uid, kind, access, wrote int
			if n, _ := fmt.Sscanf(line, "grab uid=%d kind=%o access=%d wrote=%d", &uid, &kind, &access, &wrote); n == 4 && kind == unix.S_IFREG && uid == 0 {
				s.t.Errorf("a process of the login user has an open file of root: %s", line)
			}
		}
		s.t.Logf("%d times: %.300s", strings.Count(log, "\n"), log)
		if strings.Contains(log, sign) || s.t.Failed() {
			s.restoreHost()
			return
		}
	}
	s.t.Errorf("the adversary was too slow, and nothing is shown")
}

// noWaitingShell checks that no other user can keep a shell of root running on the
// host.
func (s *attackedHost) noWaitingShell() {
	s.t.Helper()
	left := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if left = s.shell(s.h, "pgrep -a -x -f 'sh -s' || :"); left == "" {
			return
		}
	}
	s.t.Errorf("root still waits for a pipe of the login user: %s", left)
}
