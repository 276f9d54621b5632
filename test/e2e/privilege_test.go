//go:build e2e && linux

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

const helperPath = "/usr/local/libexec/aoifleet-host"

// confine installs the helper as root and limits the login user to the drop-in that
// the program prints.
func (w *world) confine() {
	w.t.Helper()
	own := w.defaults
	w.defaults = map[string]any{"user": "root", "sudo": "none"}
	document, code := w.run("install-helper", "new", nil)
	if code != 0 {
		w.t.Fatalf("install-helper ended with %d", code)
	}
	for _, h := range document.Hosts {
		if h.Helper != "installed" || h.Error != nil {
			w.t.Errorf("%s: %+v", h.Name, h)
		}
	}
	w.defaults = map[string]any{"helper": helperPath}
	maps.Copy(w.defaults, own)
	inventory := filepath.Join(w.dir, "inventory.yaml")
	if err := w.fleet.WriteInventory(inventory, fleet.Inventory{Defaults: w.defaults}); err != nil {
		w.t.Fatal(err)
	}
	cmd := w.fleet.Command(w.t.Context(), w.program, "sudoers", "-i", inventory)
	rules, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range w.fleet.Hosts {
		w.sudoers(h, strings.TrimSpace(string(rules)))
		w.shell(h, "mkdir -p /opt/root; echo secret >/opt/root/secret; chmod 600 /opt/root/secret; chmod 700 /opt/root; cp /etc/shadow /var/lib/shadow.before")
	}
}

func drop(t *testing.T) *world {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	w.confine()
	return w
}

// TestLeastPrivilege tests all commands with only the generated drop-in.
func TestLeastPrivilege(t *testing.T) {
	w := drop(t)
	rollout := map[string]any{"parallel": 2, "max_failures": 5}
	step := func(name string, do func()) {
		t.Run(name, func(t *testing.T) {
			w.t = t
			do()
		})
	}
	all := func(certificate string) {
		w.t.Helper()
		for _, h := range w.fleet.Hosts {
			w.live(h, certificate)
		}
	}
	run := ""
	step("unhealthy", func() {
		document, code := w.run("rotate", "refused", rollout)
		w.expect(document, code, 6, map[string]int{"rolled_back": 2})
		all("old")
	})
	step("rotate", func() {
		document, code := w.run("rotate", "new", rollout)
		w.expect(document, code, 0, map[string]int{"rotated": 2})
		run = document.RunID
		all("new")
	})
	step("again", func() {
		document, code := w.run("rotate", "new", rollout)
		w.expect(document, code, 0, map[string]int{"current": 2})
	})
	step("status", func() {
		document, code := w.run("status", "new", rollout)
		w.expect(document, code, 0, map[string]int{})
		for _, h := range document.Hosts {
			if h.Old == nil || h.Old.Thumbprint != w.certs["new"].Leaf.Thumbprint || len(h.Notes) > 0 {
				w.t.Errorf("%s: %+v, %v", h.Name, h.Old, h.Notes)
			}
		}
	})
	step("rollback", func() {
		document, code := w.run("rollback", "new", rollout, run)
		w.expect(document, code, 0, map[string]int{"restored": 2})
		all("old")
	})
	step("the dead-man timer", func() { w.deadman() })
	step("recover", func() { w.recoverAfterReboot() })
	step("with a password", func() {
		for _, h := range w.fleet.Hosts {
			w.shell(h, "echo azureuser:s3cret | chpasswd")
			w.sudoers(h, `azureuser ALL=(root) `+helperPath+` ""`)
		}
		w.defaults = map[string]any{"helper": helperPath, "sudo": w.passwordFile("s3cret")}
		document, code := w.run("rotate", "new", rollout)
		w.expect(document, code, 0, map[string]int{"rotated": 2})
		all("new")
	})
	step("backups", func() {
		document, code := w.run("backups", "new", rollout, "prune", "--keep", "0", "--yes")
		w.expect(document, code, 0, map[string]int{})
	})
}

// interrupted starts a rotation of h and returns when the file is swapped. The
// confirmation takes a minute, and the host waits for it.
func (w *world) interrupted(h *fleet.Host, hold string) (kill func()) {
	w.t.Helper()
	inventory := filepath.Join(w.dir, "interrupted.yaml")
	defaults := maps.Clone(w.defaults)
	defaults["health"] = map[string]any{"window": "1s", "timeout": "60s", "command": "sleep 50", "confirm_timeout": hold}
	if err := w.fleet.WriteInventory(inventory, fleet.Inventory{Certificate: w.file("newer"), Defaults: defaults}); err != nil {
		w.t.Fatal(err)
	}
	cmd := w.fleet.Command(w.t.Context(), w.program, "rotate", "-i", inventory, "--yes", "--limit", h.Name)
	cmd.Env = w.environment()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.until("the rotation does not reach its watch", func() bool {
		got, _ := os.ReadFile(filepath.Join(h.Root, fleet.CertificatePath))
		return string(got) == string(w.certs["newer"].Canonical())
	})
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func (w *world) until(complaint string, so func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal(complaint)
		}
	}
}

// deadman kills the script on the host and waits for the timer's undo.
func (w *world) deadman() {
	h := w.fleet.Host("paris-1")
	kill := w.interrupted(h, "5s")
	defer kill()
	w.shell(h, "pkill -KILL -f '[/]usr/local/libexec/aoifleet-host'")
	kill()
	w.until("the timer has not undone", func() bool {
		_, err := os.Stat(filepath.Join(h.Root, stateDir, "rolled-back"))
		return err == nil
	})
	w.until("the switch is still there", func() bool {
		return w.shell(h, "ls -d "+stateDir+"/backups/*/host.sh 2>/dev/null; systemctl list-units --no-legend 'aoifleet-*'") == ""
	})
	w.live(h, "old")
}

// recoverAfterReboot cuts the power; the guard unit restores the old file, and
// recover ends the transaction.
func (w *world) recoverAfterReboot() {
	h := w.fleet.Host("london-1")
	kill := w.interrupted(h, "60s")
	defer kill()
	if err := h.PowerCut(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	kill()
	if err := h.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	document, code := w.run("recover", "new", nil, "--limit", h.Name)
	w.expect(document, code, 0, map[string]int{"restored": 1})
	w.live(h, "old")
}
