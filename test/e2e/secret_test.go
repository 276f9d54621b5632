//go:build e2e && linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

const sftpKey = "/etc/az-aoi-ingestion/secrets/sftp-key"

// keyPair has ssh-keygen make a key; it returns its file.
func (w *world) keyPair(name string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestSecret sets the private key of an SFTP source. The server is a real sshd, to which the
// agent's user logs in with what is in the file: a key that the server does not know is undone.
func TestSecret(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"})
	h := w.fleet.Hosts[0]
	right, wrong, next := w.keyPair("right"), w.keyPair("wrong"), w.keyPair("next")
	config, err := os.ReadFile(filepath.Join(h.Root, fleet.AgentConfig))
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(config), "pipelines:")
	w.write(h, fleet.AgentConfig, text+`pipelines:
  - id: sftp
    source: {sftp_pull: {server: {host: `+h.Addr+`, user: collector, private_key: {secret_provider: local_file_system, key_secret_name: sftp-key}}}}
    sink: {sas_token: {secret_provider: data_product_keyvault, secret_name: input-storage-sas}}
`)
	w.shell(h, "useradd -m -s /bin/sh collector && install -d -o collector -m 700 /home/collector/.ssh && printf '"+h.Addr+" %s\n' \"$(cat /etc/ssh/ssh_host_ed25519_key.pub)\" >/etc/ssh/ssh_known_hosts")
	known := ""
	for _, key := range []string{right, next} {
		public, err := os.ReadFile(key + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		known += string(public)
	}
	w.write(h, "/home/collector/.ssh/authorized_keys", known)
	w.defaults = map[string]any{"health": map[string]any{"window": "1s", "timeout": "20s",
		"command": "sudo -u az-aoi-ingestion sftp -q -F none -b /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=none -o IdentitiesOnly=yes -i " + sftpKey + " collector@" + h.Addr}}
	set := func(key string, code int, outcome string) {
		t.Helper()
		document, got := w.run("secret set sftp-key", "new", nil, "--from-file", key)
		w.expect(document, got, code, map[string]int{outcome: 1})
		if text := w.shell(h, "stat -c '%U %a' "+filepath.Dir(sftpKey)); text != "az-aoi-ingestion 700" {
			t.Errorf("the folder is %s", text)
		}
	}
	live := func(key string) {
		t.Helper()
		want, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(h.Root, sftpKey)); err != nil || string(got) != string(want) {
			t.Errorf("the live key is not %s, %v", filepath.Base(key), err)
		}
		if text := w.shell(h, "stat -c '%U:%G %a' "+sftpKey); text != "az-aoi-ingestion:az-aoi-ingestion 600" {
			t.Errorf("the key is %s", text)
		}
		w.live(h, "old")
	}
	set(right, 0, "changed") // the folder is made too
	live(right)
	before := w.invocation(h)
	set(right, 0, "current")
	if after := w.invocation(h); after != before {
		t.Errorf("%s was %s", after, before)
	}
	set(next, 0, "changed")
	live(next)
	set(wrong, 6, "rolled_back")
	live(next)
	document, code := w.run("rollback", "new", nil, "last")
	w.expect(document, code, 0, map[string]int{"restored": 1})
	live(right)
	// With another host key no agent can log in; the command of health sees that.
	pin := w.shell(h, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2")
	pinned := func(outcome string) {
		t.Helper()
		document, code := w.run("secret hostkey set", "new", nil, "--fingerprint", pin)
		w.expect(document, code, 0, map[string]int{outcome: 1})
		if text := w.shell(h, "ssh-keygen -l -F "+h.Addr+" -f /etc/ssh/ssh_known_hosts"); !strings.Contains(text, pin) || strings.Count(text, "SHA256:") != 1 {
			t.Errorf("the known key is %s, not %s", text, pin)
		}
	}
	pinned("current")
	w.shell(h, "printf '# ours\n"+h.Addr+" %s\n' \"$(ssh-keygen -yf "+sftpKey+")\" >/etc/ssh/ssh_known_hosts")
	pinned("changed")
	w.live(h, "old")
	if text := w.shell(h, "head -n 1 /etc/ssh/ssh_known_hosts; stat -c '%U %a' /etc/ssh/ssh_known_hosts"); text != "# ours\nroot 644" {
		t.Errorf("the file is %s", text)
	}
	if text := w.shell(h, "grep -rl 'PRIVATE KEY' /var/log /tmp /home /run 2>/dev/null; find /var/lib/aoifleet -maxdepth 3 -type d -perm /077"); text != "" {
		t.Errorf("keys are in %s", text)
	}
}
