//go:build e2e && bench && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// peerRounds is smaller than floorRounds, because Ansible takes a while.
const peerRounds = 3

// peer is another tool that copies the file and restarts the agent, without the safety of
// aoifleet: no health check, no undo.
type peer struct {
	name string
	run  func()
}

// onHost is what spot's root does on each host: back up, replace, restart, ask systemd.
const onHost = "sudo -n sh -c 'cp -a %[1]s %[1]s.before && cat /tmp/peer.p12 >%[1]s && systemctl restart %[2]s && systemctl is-active %[2]s'"

// peers returns the peers that are installed, and logs which are not. Ansible does with its
// modules copy and systemd what its documentation shows; like each run of a person's, it
// finds no connection of an earlier one.
func (w *world) peers(t *testing.T, addresses map[string]string) []peer {
	t.Helper()
	dir := t.TempDir()
	for name, text := range w.peerFiles(addresses) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var found []peer
	for _, p := range []struct {
		program, name string
		args          []string
	}{
		{"ansible-playbook", "Ansible", []string{"-i", filepath.Join(dir, "hosts.ini"), "-f", fmt.Sprint(len(addresses)), filepath.Join(dir, "playbook.yaml")}},
		{"spot", "spot", []string{"-p", filepath.Join(dir, "spot.yaml"), "-t", "all", "-c", fmt.Sprint(len(addresses))}},
	} {
		if _, err := exec.LookPath(p.program); err != nil {
			t.Logf("%s is not installed", p.program)
			continue
		}
		found = append(found, peer{p.name, func() {
			cmd := w.fleet.Command(t.Context(), p.program, p.args...)
			// The path of a socket has a limit of about 100 bytes.
			sockets, err := os.MkdirTemp("", "peer-")
			if err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(w.environment(), "HOME="+dir, "ANSIBLE_HOST_KEY_CHECKING=True", "ANSIBLE_LOCAL_TEMP="+dir, "ANSIBLE_SSH_CONTROL_PATH_DIR="+sockets,
				"ANSIBLE_SSH_ARGS=-o ControlMaster=auto -o ControlPersist=1s", "LC_ALL=C.UTF-8")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", p.program, err, out)
			}
		}})
	}
	return found
}

func (w *world) peerFiles(addresses map[string]string) map[string]string {
	w.t.Helper()
	user, certificate := w.fleet.Hosts[0].User, w.file("newer")
	command := fmt.Sprintf(onHost, fleet.CertificatePath, fleet.AgentUnit)
	var ini, spot strings.Builder
	fmt.Fprintf(&ini, "[all:vars]\nansible_user=%s\nansible_ssh_private_key_file=%s\nansible_ssh_common_args=-F none -o UserKnownHostsFile=%s\n[all]\n",
		user, w.fleet.IdentityFile, w.fleet.KnownHosts)
	for name, address := range addresses {
		fmt.Fprintf(&ini, "%s ansible_host=%s\n", name, address)
		fmt.Fprintf(&spot, "      - {host: %q, name: %q}\n", address, name)
	}
	quoted := strings.ReplaceAll(command, "'", "''")
	return map[string]string{
		"hosts.ini": ini.String(),
		"playbook.yaml": "- hosts: all\n  gather_facts: false\n  become: true\n  tasks:\n" +
			"    - copy: {src: " + certificate + ", dest: " + fleet.CertificatePath + ", backup: true, owner: az-aoi-ingestion, mode: '0600'}\n" +
			"    - systemd: {name: " + fleet.AgentUnit + ", state: restarted}\n",
		"spot.yaml": "user: " + user + "\nssh_key: " + w.fleet.IdentityFile + "\ntargets:\n  all:\n    hosts:\n" + spot.String() +
			"tasks:\n  - name: rotate\n    commands:\n      - {name: copy, copy: {src: " + certificate + ", dest: /tmp/peer.p12}}\n" +
			"      - {name: restart, script: '" + quoted + "'}\n",
	}
}
