//go:build e2e && linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// agentsUser owns the certificate's folder, and is the adversary.
const agentsUser = "az-aoi-ingestion"

// front is one name that the adversary swaps, on one host.
type front struct {
	name string
	args []string // of the adversary
	// ownFile: the adversary swaps the live file itself, or a folder on the way. Its
	// user may change the certificate a moment after any look, so that what is there
	// after the run proves nothing.
	ownFile bool
}

const (
	links = "-links /root/canary-log,/etc/canary-yaml,/root/missing,/etc/ld.so.preload.canary"
	traps = "-links /root/trap,/root/missing"
	deep  = "/var/lib/az-aoi-ingestion/keys/secrets/certificate.p12"
	// fewestSwaps of each name are what makes the test one.
	fewestSwaps = 50
)

// TestAdversary lets the agent's user swap each name that root uses in its folders
// while rotations go on. Whatever comes of those: nothing of root's changes or is
// shown, each run ends, and `rotated` is true.
func TestAdversary(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "london-2"})
	plain := newSiege(w, w.fleet.Host("london-1"), fleet.CertificatePath)
	h := w.fleet.Host("london-2")
	// All on the way to the certificate is the agent's user's, and the configuration's folder.
	w.shell(h, "install -d -m 750 -o az-aoi-ingestion -g az-aoi-ingestion /var/lib/az-aoi-ingestion /var/lib/az-aoi-ingestion/keys "+filepath.Dir(deep)+
		"; mv "+fleet.CertificatePath+" "+deep+"; sed -i 's|cert_path: .*|cert_path: "+deep+"|' "+fleet.AgentConfig+
		"; chown -R az-aoi-ingestion: /etc/az-aoi-ingestion; systemctl restart "+fleet.AgentUnit)
	owned := newSiege(w, h, deep)
	certs := filepath.Dir(fleet.CertificatePath)
	fronts := map[*siege][]front{
		plain: {
			{"temporary", []string{"-path", certs, "-pattern", "'.aoifleet-*'", links}, false},
			{"live", []string{"-path", fleet.CertificatePath, links}, true},
			{"log", []string{"-path", fleet.LogPath, links}, false},
		},
		owned: {
			{"configuration", []string{"-path", fleet.AgentConfig, links}, false},
			{"folder", []string{"-path", filepath.Dir(deep), traps}, true},
			{"parent", []string{"-path", filepath.Dir(filepath.Dir(deep)), traps}, true},
		},
	}
	var hosts sync.WaitGroup
	for s, all := range fronts {
		hosts.Go(func() {
			for _, f := range all {
				t.Run(f.name, func(t *testing.T) {
					s.t = t
					s.hold(f)
				})
			}
		})
	}
	hosts.Wait()
}

// sorties are what the program is told to do under attack.
var sorties = []struct {
	name        string
	certificate string // empty: the one that is not live
	first       bool   // there is no certificate yet
	kill        bool   // the script is killed, and the run settled by recover
	more        []string
}{
	{name: "rotate"},
	{name: "first file", first: true},
	{name: "refused", certificate: "refused"},
	{name: "without a switch", more: []string{"--no-deadman"}},
	{name: "first file, refused", first: true, certificate: "refused"},
	{name: "killed", kill: true},
}

// hold runs all sorties under one attack, more than once where the adversary was
// too slow to swap fifty times, and then sees that the host works without it.
func (s *siege) hold(f front) {
	began := time.Now()
	swaps, runs, ends := 0, 0, map[string]int{}
	kinds := map[string]int{}
	for round := 0; round < 3 || round < 6 && swaps < fewestSwaps; round++ {
		stop := s.attack(agentsUser, append([]string{"swap", "-name", f.name, "-hide", adversaryDir + "/hide"}, f.args...)...)
		ok := true
		for i := range sorties {
			outcome, unharmed := s.sortie(f, i)
			runs, ends[outcome] = runs+1, ends[outcome]+1
			if ok = unharmed; !ok {
				break
			}
		}
		for line := range strings.Lines(stop()) {
			if words := strings.Fields(line); len(words) == 3 && words[0] == f.name {
				swaps, kinds[words[1]] = swaps+1, kinds[words[1]]+1
			}
		}
		s.calm()
		if !ok {
			break // it is shown; the rest would be the same
		}
	}
	s.t.Logf("%s: %d swaps %v, %d runs %v, %.1f s", f.name, swaps, kinds, runs, ends, time.Since(began).Seconds())
	if swaps < fewestSwaps && !s.t.Failed() {
		s.t.Errorf("%s: only %d swaps: the adversary was too slow, and nothing is shown", f.name, swaps)
	}
}

// sortie is one run of the program under attack.
func (s *siege) sortie(f front, i int) (outcome string, unharmed bool) {
	kind := sorties[i]
	s.shell(s.h, "systemctl reset-failed "+fleet.AgentUnit+"; systemctl start "+fleet.AgentUnit)
	if kind.first {
		_, _ = s.h.Shell(s.t.Context(), as(agentsUser)+"rm -rf "+s.path) // may have been swapped just now
	}
	goal := kind.certificate
	if goal == "" {
		goal = s.other()
	}
	s.health["window"] = "0s"
	if kind.certificate == "refused" {
		s.health["window"] = "1s" // the agent needs a moment to be refused
	}
	mode := s.modeAfter()
	end := s.begin(goal, "rotate", append([]string{"--force"}, kind.more...)...)
	if kind.kill {
		s.killScript()
	}
	a := end()
	unharmed = s.check(f, goal, mode, a)
	if !a.ended || !unharmed {
		return a.outcome, false
	}
	if a.outcome == "rotated" {
		if !f.ownFile {
			s.live = goal
		}
		return a.outcome, true
	}
	// Whatever it was, the next operator settles it.
	settled := s.run(goal, "recover")
	return a.outcome, s.check(f, goal, mode, settled)
}

// modeAfter is the mode that a new certificate gets: that of the file in its place,
// which may be one that the adversary has put there for good.
func (s *siege) modeAfter() os.FileMode {
	info, err := os.Lstat(filepath.Join(s.h.Root, s.path))
	if err != nil || !info.Mode().IsRegular() {
		return 0o600
	}
	return info.Mode().Perm()
}

// check holds an attempt against what must be so, whoever attacks.
func (s *siege) check(f front, goal string, mode os.FileMode, a attempt) bool {
	s.t.Helper()
	unharmed := s.unharmed(a)
	if a.outcome == "rotated" && !f.ownFile {
		file := filepath.Join(s.h.Root, s.path)
		info, err := os.Lstat(file)
		got, _ := os.ReadFile(file)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != mode || info.Sys().(*syscall.Stat_t).Uid == 0 ||
			string(got) != string(s.certs[goal].Canonical()) {
			s.t.Errorf("%s: %v: it is not true: the live file is %v, %v", s.h.Name, a, info, err)
			return false
		}
	}
	if !a.ended {
		s.cut(s.t)
	}
	return unharmed
}

// killScript kills the host's script as soon as there is a transaction; a run that
// is refused before that has none.
func (s *siege) killScript() {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(s.h.Root, stateDir, "pending")); err == nil {
			break
		}
	}
	_, _ = s.h.Shell(s.t.Context(), "pkill -KILL -x -f 'sh -s'")
}
