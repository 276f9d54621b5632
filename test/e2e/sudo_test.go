//go:build e2e && linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// sudoers replaces the login user's rules of sudo.
func (w *world) sudoers(h *fleet.Host, rules string) {
	w.t.Helper()
	w.shell(h, "printf '%s\\n' '"+rules+"' >/etc/sudoers.d/.new && visudo -qcf /etc/sudoers.d/.new && chmod 440 /etc/sudoers.d/.new && mv /etc/sudoers.d/.new "+sudoersFile)
}

// passwordFile writes a password for the program to a file, and returns its source.
func (w *world) passwordFile(password string) map[string]any {
	w.t.Helper()
	path := filepath.Join(w.dir, "password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return map[string]any{"password_from": map[string]any{"file": path}}
}

// refusals returns the number of wrong passwords that PAM has counted on a host.
func (w *world) refusals(h *fleet.Host) string {
	w.t.Helper()
	return w.shell(h, "journalctl -q --sync; journalctl -q --no-pager -o cat | grep -c 'pam_unix(sudo:auth): authentication failure' || :")
}

// TestSudo tests each answer of sudo, with versions 1.9.13 and 1.9.5.
func TestSudo(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	rollout := map[string]any{"parallel": 2, "max_failures": 5}
	for _, h := range w.fleet.Hosts {
		w.shell(h, "echo azureuser:s3cret | chpasswd; echo 'Defaults lecture=always' >/etc/sudoers.d/lecture")
	}
	onAllHosts := func(rules string) {
		for _, h := range w.fleet.Hosts {
			w.sudoers(h, rules)
		}
	}
	step := func(name string, do func()) {
		t.Run(name, func(t *testing.T) {
			w.t = t
			do()
		})
	}
	refused := func(class problem.Class, expected, hint string) {
		w.t.Helper()
		document, code := w.run("plan", "new", rollout)
		w.expect(document, code, 5, map[string]int{"refused": 2})
		for _, h := range document.Hosts {
			if h.Error == nil || h.Error.Class != class || !strings.Contains(h.Error.Message, expected) || !strings.Contains(h.Error.Hint, hint) {
				w.t.Errorf("%s: %+v", h.Name, h.Error)
			}
		}
	}
	const line = "azureuser ALL=(root) NOPASSWD: /bin/sh -s"

	step("with a password", func() {
		onAllHosts("azureuser ALL=(ALL) ALL")
		w.defaults = map[string]any{"sudo": w.passwordFile("s3cret")}
		document, code := w.run("rotate", "new", rollout)
		w.expect(document, code, 0, map[string]int{"rotated": 2})
		for _, h := range w.fleet.Hosts {
			w.live(h, "new")
		}
	})
	step("a wrong one is tried once, on one host", func() {
		w.defaults = map[string]any{"sudo": w.passwordFile("wr0ng")}
		document, code := w.run("rotate", "newer", rollout)
		w.expect(document, code, 5, map[string]int{"refused": 2})
		var printed []string
		tried := 0
		for i, h := range document.Hosts {
			printed = append(printed, h.Error.Message)
			if w.refusals(w.fleet.Hosts[i]) == "1" {
				tried++
			} else if n := w.refusals(w.fleet.Hosts[i]); n != "0" {
				w.t.Errorf("%s: %s wrong passwords", h.Name, n)
			}
		}
		if all := strings.Join(printed, "; "); tried != 1 || !strings.Contains(all, "sudo refuses the password") || !strings.Contains(all, "not tried: ") {
			w.t.Errorf("tried on %d hosts: %s", tried, all)
		}
		for _, h := range w.fleet.Hosts {
			w.live(h, "new")
		}
	})
	step("a password where none is needed", func() {
		onAllHosts("azureuser ALL=(ALL) NOPASSWD: ALL")
		document, code := w.run("plan", "new", rollout)
		w.expect(document, code, 0, map[string]int{"current": 2})
	})
	step("the right one, and not in sudoers", func() {
		onAllHosts("nobody ALL=(ALL) ALL")
		w.defaults = map[string]any{"sudo": w.passwordFile("s3cret")}
		refused("sudo", "sudoers does not name the login user", "azureuser ALL=(root) /bin/sh")
	})
	step("the right one, and another command", func() {
		onAllHosts("azureuser ALL=(root) /bin/ls")
		refused("sudo", "sudoers lets the login user run other commands only", "azureuser ALL=(root) /bin/sh")
	})
	step("the right one, and an odd secure_path", func() {
		onAllHosts("Defaults secure_path=/opt/odd\nazureuser ALL=(ALL) ALL")
		refused("sudo", "sudo can't start the command: sh: command not found", "secure_path")
	})
	w.defaults = nil
	step("it asks", func() {
		onAllHosts("azureuser ALL=(ALL) ALL")
		refused("sudo", "sudo asks for a password", line)
	})
	step("another command without a password", func() {
		onAllHosts("azureuser ALL=(root) NOPASSWD: /bin/ls")
		refused("sudo", "sudoers lets the login user run other commands only", line)
	})
	step("requiretty", func() {
		onAllHosts("Defaults requiretty\nazureuser ALL=(ALL) NOPASSWD: ALL")
		refused("sudo", "sudo wants a terminal (requiretty)", "Defaults:azureuser !requiretty")
		onAllHosts("Defaults requiretty\nDefaults:azureuser !requiretty\nazureuser ALL=(ALL) NOPASSWD: ALL")
		document, code := w.run("plan", "new", rollout)
		w.expect(document, code, 0, map[string]int{"current": 2})
	})
	step("the line of the hint is enough, with use_pty too", func() {
		onAllHosts("Defaults use_pty\n" + line)
		document, code := w.run("rotate", "newer", rollout)
		w.expect(document, code, 0, map[string]int{"rotated": 2})
	})
	step("root", func() {
		onAllHosts("nobody ALL=(ALL) ALL")
		w.defaults = map[string]any{"sudo": "none", "user": "root"}
		document, code := w.run("rotate", "newest", rollout)
		w.expect(document, code, 0, map[string]int{"rotated": 2})
	})
	w.defaults = nil
	step("no sudo", func() {
		for _, h := range w.fleet.Hosts {
			w.shell(h, "mv /usr/bin/sudo /usr/bin/sudo.away")
		}
		refused("sudo", "sudo is not installed on the host", "sudo: none")
	})
}
