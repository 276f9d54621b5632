package fleet

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// A run's ID is a folder name on the hosts and sorts by time.
func TestRunID(t *testing.T) {
	form := regexp.MustCompile(`^20261123-084512-[A-Z2-7]{4}$`)
	at := time.Date(2026, 11, 23, 9, 45, 12, 0, time.FixedZone("CET", 3600))
	if id := runID(at); !form.MatchString(id) {
		t.Error(id)
	}
	if runID(at) > runID(at.Add(time.Second)) {
		t.Error("it does not sort by time")
	}
	seen := map[string]bool{}
	for range 5 {
		seen[runID(at)] = true
	}
	if len(seen) == 1 {
		t.Error("two runs in one second have one id")
	}
}

// Request.User wins over the inventory and over ssh_config.
func TestUserOfTheRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ndefaults: {user: agent, known_hosts: kh, ssh_config: none}\nhosts:\n  a: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	caller := Caller{Getenv: func(string) string { return "" }, Say: func(string) {}, Event: func(rollout.Event) {}}
	for user, want := range map[string]string{"": "agent", "admin": "admin"} {
		f, err := Open(t.Context(), caller, Request{Inventory: file, User: user, NoLogin: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.target(*f.Targets[0].Host).User; got != want {
			t.Errorf("%q logs in as %q, not %q", user, got, want)
		}
		f.Close()
	}
}

func TestAgentSocket(t *testing.T) {
	for _, c := range []struct{ goos, variable, want string }{
		{"linux", "", ""}, {"linux", "/run/agent", "/run/agent"},
		{"windows", "", `\\.\pipe\openssh-ssh-agent`}, {"windows", `\\.\pipe\other`, `\\.\pipe\other`},
	} {
		if got := agentSocketOn(c.goos, func(string) string { return c.variable }); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
}
