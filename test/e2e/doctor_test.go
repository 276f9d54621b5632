//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// doctor returns the result of `aoifleet doctor` for every host.
func (w *world) doctor(wantCode int) []report.DoctorHost {
	w.t.Helper()
	inventory := filepath.Join(w.dir, "inventory.yaml")
	if err := w.fleet.WriteInventory(inventory, fleet.Inventory{Certificate: w.file("new"), Defaults: w.defaults}); err != nil {
		w.t.Fatal(err)
	}
	cmd := w.fleet.Command(w.t.Context(), w.program, "doctor", "-i", inventory, "-o", "json")
	cmd.Env = w.environment()
	out, err := cmd.Output()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		w.t.Fatal(err)
	}
	var document struct {
		ExitCode int                 `json:"exit_code"`
		Hosts    []report.DoctorHost `json:"hosts"`
	}
	if err := json.Unmarshal(out, &document); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	if code != wantCode || document.ExitCode != code || len(document.Hosts) != len(w.fleet.Hosts) {
		w.t.Errorf("exit code %d, want %d:\n%s", code, wantCode, out)
	}
	return document.Hosts
}

// expectFailure checks that on every host exactly one check failed, and its hint.
func (w *world) expectFailure(code int, check, message, fix string) {
	w.t.Helper()
	for _, h := range w.doctor(code) {
		failed := 0
		for _, c := range h.Checks {
			if c.OK == nil || *c.OK {
				continue
			}
			failed++
			if c.Name != check || !strings.Contains(c.Message, message) || !strings.Contains(c.Hint, fix) {
				w.t.Errorf("%s: %s: %s; %s", h.Name, c.Name, c.Message, c.Hint)
			}
		}
		if failed != 1 {
			w.t.Errorf("%s: %d checks failed: %+v", h.Name, failed, h.Checks)
		}
	}
}

// expectHealthy checks that all checks ran and passed.
func (w *world) expectHealthy() {
	w.t.Helper()
	for _, h := range w.doctor(0) {
		for _, c := range h.Checks {
			if c.OK == nil || !*c.OK {
				w.t.Errorf("%s: %+v", h.Name, c)
			}
		}
	}
}

func (w *world) onAllHosts(command string) {
	w.t.Helper()
	for _, h := range w.fleet.Hosts {
		w.shell(h, command)
	}
}

// TestDoctor gives real hosts one fault after another, and checks the doctor's result
// with and without it.
func TestDoctor(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	w.outside()
	for _, c := range []struct {
		name                 string
		upset, fix           func()
		code                 int
		check, message, hint string
	}{
		{"sudo wants a password", func() { w.rules("azureuser ALL=(ALL) ALL") }, func() { w.rules("azureuser ALL=(root) NOPASSWD: /bin/sh -s") },
			5, "sudo", "sudo asks for a password", "azureuser ALL=(root) NOPASSWD: /bin/sh -s"},
		{"requiretty", func() { w.rules("Defaults requiretty\nazureuser ALL=(ALL) NOPASSWD: ALL") },
			func() {
				w.rules("Defaults requiretty\nDefaults:azureuser !requiretty\nazureuser ALL=(ALL) NOPASSWD: ALL")
			},
			5, "sudo", "requiretty", "Defaults:azureuser !requiretty"},
		{"SFTP off", func() { w.onAllHosts("sed -i.was '/^Subsystem/d' /etc/ssh/sshd_config && systemctl restart ssh") },
			func() { w.onAllHosts("mv /etc/ssh/sshd_config.was /etc/ssh/sshd_config && systemctl restart ssh") },
			5, "sftp", "SFTP is disabled", "Subsystem sftp internal-sftp"},
		{"unit not enabled", func() { w.onAllHosts("systemctl disable " + fleet.AgentUnit) }, func() { w.onAllHosts("systemctl enable " + fleet.AgentUnit) },
			5, "unit", "is disabled", "systemctl enable " + fleet.AgentUnit},
		{"CRLF", func() { w.form("\r\n") }, func() { w.form("") }, 5, "certificate_form", "CRLF", "aoifleet rotate -i "},
		// Lazily: an ending session may still have an open file there.
		{"read-only /etc", w.readOnly, func() { w.onAllHosts("umount /etc/az-aoi-ingestion /mnt; umount -l /etc") },
			5, "dead_man", "no boot guard, /etc/systemd/system is not writable", "findmnt -T /etc/systemd/system"},
		{"no openssl", func() { w.onAllHosts("mv /usr/bin/openssl /usr/bin/openssl.away") }, func() { w.onAllHosts("mv /usr/bin/openssl.away /usr/bin/openssl") },
			5, "openssl", "no openssl", "on the host: apt-get install openssl"},
		{"hard links", func() {
			w.onAllHosts("echo 0 >/run/zero && mount --bind /run/zero /proc/sys/fs/protected_hardlinks")
		}, func() { w.onAllHosts("umount /proc/sys/fs/protected_hardlinks") },
			5, "protected_links", "fs.protected_hardlinks is 0", "sysctl -w fs.protected_hardlinks=1"},
		{"log is the agent's link", func() {
			w.onAllHosts("cd /var/log && mv az-aoi-ingestion/stdout.log agent.log && ln -s ../agent.log az-aoi-ingestion/stdout.log")
		},
			func() { w.onAllHosts("mv /var/log/agent.log /var/log/az-aoi-ingestion/stdout.log") },
			5, "log", "is a link, and non-root users can write the folder /var/log/az-aoi-ingestion", "agent.log"},
		{"configuration is the agent's link", func() {
			w.onAllHosts("cd /etc && chown az-aoi-ingestion az-aoi-ingestion && mv az-aoi-ingestion/config.yaml agent.yaml && ln -s ../agent.yaml az-aoi-ingestion/config.yaml")
		}, func() {
			w.onAllHosts("mv /etc/agent.yaml /etc/az-aoi-ingestion/config.yaml && chown root /etc/az-aoi-ingestion")
		},
			5, "configuration", "is a link, and non-root users can write the folder /etc/az-aoi-ingestion", "agent.config"},
		{"vault away", func() { w.onAllHosts("systemctl stop vault") }, func() { w.onAllHosts(startVault) },
			5, "vault", "cannot connect to contoso-dp-kv.vault.azure.net:443: Connection refused", "firewalls"},
		{"a firewall that filters by name", func() {
			w.onAllHosts("systemctl stop vault; systemd-run -q -p Restart=always -p RestartSec=100ms -p StartLimitIntervalSec=0 --unit=vault openssl s_server -quiet -accept 127.0.0.2:443 -cert /run/tls.pem -no_tls1_2 -no_tls1_3")
		},
			func() { w.onAllHosts("systemctl stop vault; " + startVault) },
			5, "vault", "accepts the connection, but does not answer with TLS", "filters by name"},
		{"name does not resolve", func() { w.onAllHosts("sed -i.was /microsoftonline/d /etc/hosts") }, func() { w.onAllHosts("mv /etc/hosts.was /etc/hosts") },
			5, "entra", "login.microsoftonline.com does not resolve on the host", "getent ahosts"},
		{"unknown SFTP server", func() { w.onAllHosts("mv /etc/az-aoi-ingestion/known_hosts /run") }, func() { w.onAllHosts("mv /run/known_hosts /etc/az-aoi-ingestion") },
			5, "source_host_key", "has no key of sftp.example.net", "secret hostkey scan"},
		{"another SFTP server", func() {
			w.onAllHosts("cp -p /etc/az-aoi-ingestion/known_hosts /run; ssh-keygen -q -t ed25519 -N '' -f /run/other; printf 'sftp.example.net %s\n' \"$(cat /run/other.pub)\" >/etc/az-aoi-ingestion/known_hosts")
		}, func() { w.onAllHosts("rm /run/other*; mv /run/known_hosts /etc/az-aoi-ingestion") },
			5, "source_host_key", "sftp.example.net has another key than in", "secret hostkey scan"},
		{"secret with a newline", func() { w.onAllHosts("echo >>/etc/az-aoi-ingestion/secrets/sftp") }, func() { w.onAllHosts(writeSecret) },
			5, "secrets", "ends with whitespace", "without a newline"},
		{"secret of root", func() { w.onAllHosts("chown root /etc/az-aoi-ingestion/secrets/sftp") }, func() { w.onAllHosts(writeSecret) },
			5, "secrets", "az-aoi-ingestion can't read", "namei -l"},
		{"no zip", func() { w.onAllHosts("rm /usr/bin/zip") }, func() { w.onAllHosts("ln -s true /usr/bin/zip") },
			5, "agent_tools", "no zip", "install zip"},
		{"full disk", func() { w.onAllHosts("mkdir -p /var/lib/aoifleet; mount -t tmpfs -o size=512k none /var/lib") }, func() { w.onAllHosts("umount /var/lib") },
			5, "space", "kB are free below /var/lib", "free at least"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			c.upset()
			w.expectFailure(c.code, c.check, c.message, c.hint)
			c.fix()
			w.expectHealthy()
		})
	}
	t.Run("host key changed", func(t *testing.T) {
		w.t = t
		w.otherKeys()
		w.expectFailure(4, "host_key", "host key has changed", "ssh-keygen -R ")
	})
}

// What the hosts of outside run.
const (
	startVault  = "systemd-run -q -p Restart=always -p RestartSec=100ms -p StartLimitIntervalSec=0 --unit=vault openssl s_server -quiet -accept 127.0.0.2:443 -cert /run/tls.pem"
	writeSecret = "mkdir -p -m 700 /etc/az-aoi-ingestion/secrets && cd /etc/az-aoi-ingestion/secrets && printf geheim >sftp && chmod 600 sftp && chown -R az-aoi-ingestion . "
)

// outside gives each host what an agent needs besides its certificate: names, servers that
// answer with TLS, its own sshd as the SFTP server, whose keys it knows by a hashed name, the
// secret, and the vendor's programs.
func (w *world) outside() {
	w.t.Helper()
	for _, h := range w.fleet.Hosts {
		w.shell(h, "printf '127.0.0.1 login.microsoftonline.com\n127.0.0.2 contoso-dp-kv.vault.azure.net\n"+h.Addr+" sftp.example.net\n' >>/etc/hosts")
		w.shell(h, "cd /run && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key.pem -out cert.pem 2>/dev/null && cat key.pem cert.pem >tls.pem")
		w.shell(h, "systemd-run -q -p Restart=always -p RestartSec=100ms -p StartLimitIntervalSec=0 --unit=login openssl s_server -quiet -accept 127.0.0.1:443 -cert /run/tls.pem && "+startVault)
		w.shell(h, "for f in /etc/ssh/ssh_host_*_key.pub; do printf 'sftp.example.net %s\n' \"$(cat $f)\"; done >/etc/az-aoi-ingestion/known_hosts && cd /etc/az-aoi-ingestion && ssh-keygen -q -H -f known_hosts 2>/dev/null; rm -f known_hosts.old; chmod 644 known_hosts")
		w.shell(h, writeSecret+"&& ln -sf true /usr/bin/zip && ln -sf true /usr/bin/logrotate")
	}
}

func (w *world) rules(rules string) {
	w.t.Helper()
	for _, h := range w.fleet.Hosts {
		w.sudoers(h, rules)
	}
}

// form writes the live certificate with a text in its middle and at its end.
func (w *world) form(end string) {
	w.t.Helper()
	text := string(w.certs["old"].Canonical())
	text = text[:76] + end + text[76:] + end
	for _, h := range w.fleet.Hosts {
		// In place, so that it keeps its owner.
		if err := os.WriteFile(filepath.Join(h.Root, fleet.CertificatePath), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// readOnly makes /etc read-only, except for the agent's own folder.
func (w *world) readOnly() {
	w.t.Helper()
	w.onAllHosts("mount --bind /etc/az-aoi-ingestion /mnt && mount --bind /etc /etc && mount -o remount,ro,bind /etc && mount --bind /mnt /etc/az-aoi-ingestion")
}

// otherKeys writes a known_hosts file in which each host has the key of another.
func (w *world) otherKeys() {
	w.t.Helper()
	known, err := os.ReadFile(w.fleet.KnownHosts)
	if err != nil {
		w.t.Fatal(err)
	}
	a, b := w.fleet.Hosts[0].Addr, w.fleet.Hosts[1].Addr
	if err := os.WriteFile(w.fleet.KnownHosts, []byte(strings.NewReplacer(a, b, b, a).Replace(string(known))), 0o600); err != nil {
		w.t.Fatal(err)
	}
}
