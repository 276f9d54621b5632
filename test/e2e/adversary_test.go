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

// agentsUser is the agent's user: the owner of the certificate's folder, and the adversary.
const agentsUser = "az-aoi-ingestion"

// swapTarget is one name that the adversary swaps, on one host.
type swapTarget struct {
	name string
	args []string // of the adversary
	// ownFile: the adversary swaps the live file itself, or a folder of its path. Its
	// user may change the certificate after any check, so that the file
	// after the run proves nothing.
	ownFile bool
}

const (
	links = "-links /root/canary-log,/etc/canary-yaml,/root/missing,/etc/ld.so.preload.canary"
	traps = "-links /root/trap,/root/missing"
	deep  = "/var/lib/az-aoi-ingestion/keys/secrets/certificate.p12"
	// fewestSwaps is the number of swaps of each name that the test needs.
	fewestSwaps = 50
)

// TestAdversary lets the agent's user swap each name that root uses in its folders
// during rotations. Whatever their outcome: no file of root changes or is
// disclosed, each run ends, and `rotated` is true.
func TestAdversary(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "london-2"})
	plain := newAttackedHost(w, w.fleet.Host("london-1"), fleet.CertificatePath)
	h := w.fleet.Host("london-2")
	// The agent's user owns the certificate's path and the configuration's folder.
	w.shell(h, "install -d -m 750 -o az-aoi-ingestion -g az-aoi-ingestion /var/lib/az-aoi-ingestion /var/lib/az-aoi-ingestion/keys "+filepath.Dir(deep)+
		"; mv "+fleet.CertificatePath+" "+deep+"; sed -i 's|cert_path: .*|cert_path: "+deep+"|' "+fleet.AgentConfig+
		"; chown -R az-aoi-ingestion: /etc/az-aoi-ingestion; systemctl restart "+fleet.AgentUnit)
	owned := newAttackedHost(w, h, deep)
	certs := filepath.Dir(fleet.CertificatePath)
	fronts := map[*attackedHost][]swapTarget{
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
					s.runUnderAttack(f)
				})
			}
		})
	}
	hosts.Wait()
}

// attackedRuns are the runs of the program under attack.
var attackedRuns = []struct {
	name        string
	certificate string // empty: the certificate that is not live
	first       bool   // there is no certificate yet
	kill        bool   // the script is killed, and recover ends the run
	more        []string
}{
	{name: "rotate"},
	{name: "first file", first: true},
	{name: "refused", certificate: "refused"},
	{name: "without a switch", more: []string{"--no-deadman"}},
	{name: "first file, refused", first: true, certificate: "refused"},
	{name: "killed", kill: true},
}

// runUnderAttack runs all attackedRuns under one attack, more than once if the
// adversary swaps less than fifty times, and then checks that the host works without it.
func (s *attackedHost) runUnderAttack(f swapTarget) {
	began := time.Now()
	swaps, runs, ends := 0, 0, map[string]int{}
	kinds := map[string]int{}
	for round := 0; round < 3 || round < 6 && swaps < fewestSwaps; round++ {
		stop := s.attack(agentsUser, append([]string{"swap", "-name", f.name, "-hide", adversaryDir + "/hide"}, f.args...)...)
		ok := true
		for i := range attackedRuns {
			outcome, unharmed := s.runAttacked(f, i)
			runs, ends[outcome] = runs+1, ends[outcome]+1
			if ok = unharmed; !ok {
				break
			}
		}
		for line := range strings.Lines(stop()) {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == f.name {
				swaps, kinds[fields[1]] = swaps+1, kinds[fields[1]]+1
			}
		}
		s.restoreHost()
		if !ok {
			break // the failure is shown; further runs would repeat it
		}
	}
	s.t.Logf("%s: %d swaps %v, %d runs %v, %.1f s", f.name, swaps, kinds, runs, ends, time.Since(began).Seconds())
	if swaps < fewestSwaps && !s.t.Failed() {
		s.t.Errorf("%s: only %d swaps: the adversary was too slow, and nothing is shown", f.name, swaps)
	}
}

// runAttacked runs the program once under attack.
func (s *attackedHost) runAttacked(f swapTarget, i int) (outcome string, unharmed bool) {
	kind := attackedRuns[i]
	s.shell(s.h, "systemctl reset-failed "+fleet.AgentUnit+"; systemctl start "+fleet.AgentUnit)
	if kind.first {
		_, _ = s.h.Shell(s.t.Context(), as(agentsUser)+"rm -rf "+s.path) // may have just been swapped
	}
	goal := kind.certificate
	if goal == "" {
		goal = s.otherCertificate()
	}
	s.health["window"] = "0s"
	if kind.certificate == "refused" {
		s.health["window"] = "1s" // the refusal of the agent takes time
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
	// Whatever the outcome, recover ends the transaction.
	settled := s.run(goal, "recover")
	return a.outcome, s.check(f, goal, mode, settled)
}

// modeAfter returns the mode of a new certificate: that of the file at its path,
// which the adversary may have replaced permanently.
func (s *attackedHost) modeAfter() os.FileMode {
	info, err := os.Lstat(filepath.Join(s.h.Root, s.path))
	if err != nil || !info.Mode().IsRegular() {
		return 0o600
	}
	return info.Mode().Perm()
}

// check checks the guarantees that hold in every attempt.
func (s *attackedHost) check(f swapTarget, goal string, mode os.FileMode, a attempt) bool {
	s.t.Helper()
	unharmed := s.checkUnharmed(a)
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
		s.powerCycle(s.t)
	}
	return unharmed
}

// killScript kills the host's script as soon as there is a transaction; a run that
// is refused earlier has none.
func (s *attackedHost) killScript() {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(s.h.Root, stateDir, "pending")); err == nil {
			break
		}
	}
	_, _ = s.h.Shell(s.t.Context(), "pkill -KILL -x -f 'sh -s'")
}
