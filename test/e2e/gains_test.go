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

// blow is one thing that a user of the host does to get more than is theirs, at a
// moment that is certain: before the program looks, or while its script waits.
type blow struct {
	name   string
	first  bool         // there is no certificate
	before func(*siege) // before the program starts
	at     point        // where the script is held; empty: nowhere
	strike func(*siege) // while it is held
	verbs  [][]string   // what the program is told to do, one after the other
	only   string       // the outcome that it must have; empty: any
	never  string       // an outcome that would not be true
	after  func(*siege) // takes away what is in the way of the next run
}

var rotateOnce = [][]string{{"rotate", "--force"}}

func blows() []blow {
	var all []blow
	for _, more := range []string{"", "--no-deadman"} {
		how := strings.Fields("rotate --force " + more)
		all = append(all,
			blow{name: "the log becomes a link after the restart " + more, at: restarted, verbs: [][]string{how},
				strike: func(s *siege) { s.agents("ln -sfT /root/canary-log " + fleet.LogPath) }, after: (*siege).freshLog},
			blow{name: "the log becomes a FIFO after the restart " + more, at: restarted, verbs: [][]string{how},
				strike: func(s *siege) { s.agents("rm -f " + fleet.LogPath + "; mkfifo " + fleet.LogPath) }, after: (*siege).freshLog},
		)
	}
	looks := [][]string{{"plan", "--force"}, {"status"}, {"doctor"}, {"rotate", "--force"}}
	return append(all,
		blow{name: "the log is a link", verbs: looks, before: func(s *siege) { s.agents("ln -sfT /root/canary-log " + fleet.LogPath) }, after: (*siege).freshLog},
		blow{name: "the log is a FIFO", verbs: looks, before: func(s *siege) { s.agents("rm -f " + fleet.LogPath + "; mkfifo " + fleet.LogPath) }, after: (*siege).freshLog},
		blow{name: "the configuration is a link", verbs: looks, before: func(s *siege) { s.agents("ln -sfT /etc/canary-yaml " + fleet.AgentConfig) }, never: "rotated"},
		blow{name: "the configuration is a FIFO", verbs: looks, before: func(s *siege) { s.agents("rm -f " + fleet.AgentConfig + "; mkfifo " + fleet.AgentConfig) }, never: "rotated"},
		blow{name: "the configuration names a file of root's", verbs: rotateOnce, before: func(s *siege) { s.namesInConfig("/etc/canary-yaml") }, only: "refused"},
		blow{name: "the configuration names a new file in a folder of root's", verbs: rotateOnce, before: func(s *siege) { s.namesInConfig("/etc/ld.so.preload.canary") }, only: "refused"},
		blow{name: "the certificate is a link to nothing in a folder of root's", first: true, verbs: rotateOnce,
			before: func(s *siege) { s.agents("ln -sT /etc/ld.so.preload.canary " + s.path) }, only: "refused"},
		blow{name: "the certificate is a link to a file of root's", first: true, verbs: rotateOnce,
			before: func(s *siege) { s.agents("ln -sT /etc/canary-yaml " + s.path) }, only: "refused"},
		blow{name: "the certificate is a FIFO", first: true, verbs: looks,
			before: func(s *siege) { s.agents("mkfifo " + s.path) }, never: "rotated"},
	)
}

// agents does something as the agent's user.
func (s *siege) agents(command string) {
	s.t.Helper()
	s.shell(s.h, as(agentsUser)+"sh -c '"+command+"'")
}

// namesInConfig makes the agent's configuration name another file as the
// certificate; its folder is the agent's user's.
func (s *siege) namesInConfig(path string) {
	s.t.Helper()
	s.agents("sed -i \"s|cert_path: .*|cert_path: " + path + "|\" " + fleet.AgentConfig)
}

func (s *siege) freshLog() {
	s.t.Helper()
	s.free(fleet.LogPath)
	s.shell(s.h, "rm -f "+fleet.LogPath)
}

// free removes a FIFO and lets go whoever waits for its other side: an open(2) of
// it ends as soon as there was one (fifo(7)).
func (s *siege) free(path string) {
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

// TestAgentsUserGainsNothing: one blow after the other, each at its moment.
func TestAgentsUserGainsNothing(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	h := w.fleet.Host("london-1")
	if err := installTraps(h); err != nil {
		t.Fatal(err)
	}
	w.shell(h, "chown az-aoi-ingestion: /etc/az-aoi-ingestion /etc/az-aoi-ingestion/config.yaml")
	s := newSiege(w, h, fleet.CertificatePath)
	s.health = map[string]any{"window": "1s", "timeout": "5s", "confirm_timeout": "10s"}
	for _, b := range blows() {
		t.Run(b.name, func(t *testing.T) {
			s.t = t
			s.suffer(b)
		})
	}
}

func (s *siege) suffer(b blow) {
	if b.first {
		s.agents("rm -f " + s.path)
	}
	if b.before != nil {
		b.before(s)
	}
	traps := &trial{world: s.world, h: s.h}
	for _, verb := range b.verbs {
		if b.at != (point{}) {
			traps.arm(b.at)
		}
		end := s.begin(s.other(), verb[0], verb[1:]...)
		if b.at != (point{}) {
			traps.held()
			b.strike(s)
			traps.spring()
		}
		a := end()
		s.unharmed(a)
		if a.outcome == b.never && b.never != "" || a.outcome != b.only && b.only != "" {
			s.t.Errorf("%s: %v: it should not be", s.h.Name, a)
		}
		if !a.ended {
			s.free(fleet.LogPath)
			s.free(fleet.AgentConfig)
			s.free(s.path)
			s.cut(s.t)
			break
		}
	}
	if b.after != nil {
		b.after(s)
	}
	s.calm()
}

// TestLoginUserGainsNothing: the same for the login user's own part of the work,
// the copy that is staged.
func TestLoginUserGainsNothing(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	s := newSiege(w, w.fleet.Host("london-1"), fleet.CertificatePath)
	for _, c := range []struct {
		name  string
		args  []string
		sign  string // of the log: the attack took place
		never string // an outcome that would not be true
	}{
		{"a link is staged", []string{"stage", "-home", "/home/azureuser", "-with", "link", "-links", "/root/canary-log"}, "stage link", "rotated"},
		{"a FIFO is staged", []string{"stage", "-home", "/home/azureuser", "-with", "fifo"}, "stage fifo", "rotated"},
		{"files of root's in the hands of the user's processes", []string{"grab", "-match", "/var/lib/aoifleet/"}, "saw ", ""},
		{"pipes are held open", []string{"grab", "-keep"}, "grab ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			s.undermine(c.args, c.sign, c.never)
		})
	}
}

// undermine tries again where the adversary was too slow.
func (s *siege) undermine(args []string, sign, never string) {
	times := 3
	if slices.Contains(args, "-keep") {
		times = 1 // it may take the whole time of the step
	}
	for range 5 {
		stop := s.attack("azureuser", args...)
		var runs []attempt
		for range times {
			runs = append(runs, s.run(s.other(), "rotate", "--force"))
			if runs[len(runs)-1].outcome == "rotated" {
				s.live = s.other()
			}
		}
		if slices.Contains(args, "-keep") {
			s.nobodyWaits()
		}
		log := stop()
		for _, a := range runs {
			s.unharmed(a)
			if never != "" && a.outcome == never && strings.Count(log, sign) >= len(runs) {
				s.t.Errorf("%v: it should not be", a)
			}
		}
		for line := range strings.Lines(log) {
			var uid, kind, access, wrote int
			if n, _ := fmt.Sscanf(line, "grab uid=%d kind=%o access=%d wrote=%d", &uid, &kind, &access, &wrote); n == 4 && kind == unix.S_IFREG && uid == 0 {
				s.t.Errorf("a process of the login user's has a file of root's open: %s", line)
			}
		}
		s.t.Logf("%d times: %.300s", strings.Count(log, "\n"), log)
		if strings.Contains(log, sign) || s.t.Failed() {
			s.calm()
			return
		}
	}
	s.t.Errorf("the adversary was too slow, and nothing is shown")
}

// nobodyWaits: no shell of root's stays on the host for as long as somebody else
// wants.
func (s *siege) nobodyWaits() {
	s.t.Helper()
	left := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if left = s.shell(s.h, "pgrep -a -x -f 'sh -s' || :"); left == "" {
			return
		}
	}
	s.t.Errorf("root still waits for a pipe that the login user holds open: %s", left)
}
