//go:build e2e && linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestOddLogins rotates hosts without SFTP, with another login shell than sh, a
// greeting, German messages, one session at once, or without a login directory.
func TestOddLogins(t *testing.T) {
	odd := map[string]string{
		"no-sftp":     "sed -i /^Subsystem/d /etc/ssh/sshd_config; systemctl restart ssh",
		"csh":         "usermod --shell /bin/tcsh azureuser; echo 'echo welcome' >/home/azureuser/.cshrc; sed -i /^Subsystem/d /etc/ssh/sshd_config; systemctl restart ssh",
		"fish":        "usermod --shell /usr/bin/fish azureuser; mkdir -p /home/azureuser/.config/fish; echo 'echo welcome; echo problem >&2' >/home/azureuser/.config/fish/config.fish; chown -R azureuser /home/azureuser/.config",
		"greeting":    "printf 'echo welcome=1\\necho result=rotated\\necho problem >&2\\n' | tee /home/azureuser/.bashrc /home/azureuser/.bash_profile /etc/bash.bashrc >/home/azureuser/.profile",
		"german":      "printf 'export LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8 LANGUAGE=de\\n' >/home/azureuser/.bashrc; printf 'LANG=de_DE.UTF-8\\nLC_ALL=de_DE.UTF-8\\n' >/etc/default/locale",
		"no-home":     "rm -r /home/azureuser; mkdir /home/azureuser; cd /home/azureuser; rmdir /home/azureuser; sed -i 's|^AuthorizedKeysFile.*||' /etc/ssh/sshd_config; echo 'AuthorizedKeysFile /etc/ssh/keys' >>/etc/ssh/sshd_config.d/e2e.conf; cp /root/.ssh/authorized_keys /etc/ssh/keys; chmod 644 /etc/ssh/keys; systemctl restart ssh",
		"no-both":     "rm -r /home/azureuser; echo 'AuthorizedKeysFile /etc/ssh/keys' >>/etc/ssh/sshd_config.d/e2e.conf; cp /root/.ssh/authorized_keys /etc/ssh/keys; chmod 644 /etc/ssh/keys; sed -i /^Subsystem/d /etc/ssh/sshd_config; systemctl restart ssh",
		"one-session": "echo MaxSessions 1 >/etc/ssh/sshd_config.d/a.conf; systemctl restart ssh",
		"noexec":      "mount -o remount,noexec,nosuid,nodev /tmp && mount -o bind,noexec /home /home && mount -o remount,bind,noexec /home",
	}
	var specs []fleet.Spec
	for name := range odd {
		specs = append(specs, fleet.Spec{Name: name})
	}
	w := newWorld(t, specs...)
	for name, how := range odd {
		w.shell(w.fleet.Host(name), how)
	}
	rollout := map[string]any{"parallel": 4, "max_failures": 20}
	document, code := w.run("rotate", "refused", rollout)
	w.expect(document, code, 6, map[string]int{"rolled_back": len(odd)})
	document, code = w.run("rotate", "new", rollout)
	w.expect(document, code, 0, map[string]int{"rotated": len(odd)})
	for _, h := range w.fleet.Hosts {
		w.live(h, "new")
		if left := w.shell(h, "ls -A /home/azureuser /tmp 2>/dev/null | grep aoifleet || :"); left != "" {
			t.Errorf("%s: left behind: %s", h.Name, left)
		}
	}

	// The same with the helper, and with a password.
	w.confine()
	document, code = w.run("rotate", "newer", rollout)
	w.expect(document, code, 0, map[string]int{"rotated": len(odd)})
	for _, h := range w.fleet.Hosts {
		w.shell(h, "echo azureuser:s3cret | chpasswd; echo 'Defaults lecture=always' >/etc/sudoers.d/lecture")
		w.sudoers(h, "azureuser ALL=(ALL) ALL")
	}
	w.defaults = map[string]any{"sudo": w.passwordFile("s3cret")}
	document, code = w.run("rotate", "newest", rollout)
	w.expect(document, code, 0, map[string]int{"rotated": len(odd)})

	// The messages of sudo are the same in every language.
	w.defaults = nil
	german := w.fleet.Host("german")
	if out, _ := output(t, w.fleet, german, "sudo -n true 2>&1"); !strings.Contains(out, "Passwort") {
		t.Errorf("the host does not speak German: %s", out)
	}
	document, code = w.run("plan", "newest", nil, "--limit", german.Name)
	if e := document.Hosts[0].Error; code != 5 || e == nil || e.Message != "sudo asks for a password" {
		t.Errorf("%d, %+v", code, e)
	}
	w.startUpFile(w.fleet.Host("no-sftp"))
}

// startUpFile tests a start-up file that runs another shell instead of the command:
// that shell reads the script, without root's rights.
func (w *world) startUpFile(h *fleet.Host) {
	w.t.Helper()
	w.sudoers(h, "azureuser ALL=(ALL) NOPASSWD: ALL")
	if err := os.WriteFile(filepath.Join(h.Root, "home/azureuser/.bashrc"), []byte("exec sh\n"), 0o644); err != nil {
		w.t.Fatal(err)
	}
	document, code := w.run("plan", "newest", nil, "--limit", h.Name)
	if e := document.Hosts[0].Error; code != 5 || e == nil || e.Class != "sudo" {
		w.t.Errorf("%d, %+v", code, e)
	}
}
