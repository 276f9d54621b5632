//go:build e2e && linux

// Package e2e tests the whole program on real hosts. It needs root and the programs
// that setup.sh installs.
package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// boot boots hosts with the stand-in agent, and removes them after the test.
func boot(t *testing.T, options fleet.Options) *fleet.Fleet {
	t.Helper()
	options.FromEnv(os.Getenv)
	options.Log = t.Output()
	options.AgentBinary = filepath.Join(t.TempDir(), "agent")
	if err := fleet.BuildAgent(t.Context(), options.AgentBinary); err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Boot(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// output runs a command over SSH as the login user, and checks the host's key.
func output(t *testing.T, f *fleet.Fleet, h *fleet.Host, command string) (string, error) {
	t.Helper()
	key, err := os.ReadFile(f.IdentityFile)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := knownhosts.New(f.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := h.Dial(t.Context())
	if err != nil {
		return "", err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, net.JoinHostPort(h.Addr, "22"), &ssh.ClientConfig{
		User:              h.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   hostKey,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		return "", err
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.Output(command)
	return strings.TrimSpace(string(out)), err
}

func want(t *testing.T, f *fleet.Fleet, h *fleet.Host, command, expected string) {
	t.Helper()
	got, err := output(t, f, h, command)
	if err != nil || got != expected {
		t.Errorf("%s: %s: got %q, %v; want %q", h.Name, command, got, err, expected)
	}
}

func TestHostsAreReal(t *testing.T) {
	certificate := []byte("not a certificate")
	f := boot(t, fleet.Options{
		Certificate: certificate,
		Hosts: []fleet.Spec{
			{Name: "london-1"},
			{Name: "london-2"},
			{Name: "london-3", MaxStartups: "200", Certificate: []byte("its own")},
			{Name: "paris-1", Release: "bullseye"},
		},
	})
	for _, h := range f.Hosts {
		if state, err := h.Settle(t.Context()); err != nil || state != "running" {
			failed, _ := h.Shell(t.Context(), "systemctl --failed --no-legend")
			t.Errorf("%s: state %q, %v: %s", h.Name, state, err, failed)
		}
		want(t, f, h, "hostname", h.Name)
		want(t, f, h, "id -un", h.User)
		want(t, f, h, "systemctl is-active "+fleet.AgentUnit, "active")
		want(t, f, h, "systemctl is-enabled "+fleet.AgentUnit, "enabled")
		want(t, f, h, "sudo -n id -u", "0")
		want(t, f, h, "sudo -n stat -c '%U %a' "+fleet.CertificatePath, "az-aoi-ingestion 600")
		want(t, f, h, "ip -brief address show up scope global | wc -l", "0")
	}
	releases := map[string]string{"london-1": "bookworm", "paris-1": "bullseye"}
	for name, release := range releases {
		want(t, f, f.Host(name), ". /etc/os-release; echo $VERSION_CODENAME", release)
	}
	want(t, f, f.Host("london-1"), "sudo -n cat "+fleet.CertificatePath, string(certificate))
	want(t, f, f.Host("london-3"), "sudo -n cat "+fleet.CertificatePath, "its own")
	want(t, f, f.Host("london-3"), "sudo -n sshd -T | grep ^maxstartups", "maxstartups 200:30:200")
}

func TestPower(t *testing.T) {
	f := boot(t, fleet.Options{Hosts: []fleet.Spec{{Name: "london-1"}, {Name: "paris-1", Release: "bullseye"}}})
	for _, h := range f.Hosts {
		t.Run(h.Name, func(t *testing.T) {
			for _, step := range []struct {
				name  string
				do    func(context.Context) error
				boots int
				on    bool
			}{
				{"reboot", h.Reboot, 2, true},
				{"power off", h.PowerOff, 2, false},
				{"start", h.Start, 3, true},
				{"power cut", h.PowerCut, 3, false},
				{"start after the cut", h.Start, 4, true},
				{"reboot of the host's own, without good order", resetFromInside(h), 5, true},
			} {
				checkPower(t, f, h, step.name, step.do, step.on)
				if h.Boots() != step.boots {
					t.Errorf("%s: %d boots, want %d", step.name, h.Boots(), step.boots)
				}
			}
		})
	}
}

// resetFromInside reboots a host from inside, not by the harness.
func resetFromInside(h *fleet.Host) func(context.Context) error {
	return func(ctx context.Context) error {
		boots := h.Boots()
		_, _ = h.Shell(ctx, "systemctl reboot --force --force") // ends with the host
		return h.WaitBoot(ctx, boots+1)
	}
}

// checkPower runs one step and checks the result from outside: the boot id,
// which is new after each boot, the disk, and sshd.
func checkPower(t *testing.T, f *fleet.Fleet, h *fleet.Host, name string, do func(context.Context) error, on bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	before, _ := output(t, f, h, bootID)
	if h.Running() {
		if _, err := h.Shell(ctx, "printf %s "+h.Name+" >/var/lib/kept; touch /run/lost"); err != nil {
			t.Fatal(err)
		}
	}
	if err := do(ctx); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if kept, err := os.ReadFile(filepath.Join(h.Root, "var/lib/kept")); err != nil || string(kept) != h.Name {
		t.Errorf("%s: the disk holds %q, %v", name, kept, err)
	}
	after, err := output(t, f, h, bootID)
	if !on {
		if err == nil || h.Running() {
			t.Errorf("%s: the host still answers", name)
		}
		return
	}
	if err != nil || after == before {
		t.Errorf("%s: boot %q after %q, %v", name, after, before, err)
	}
	if _, err := h.Shell(ctx, "test ! -e /run/lost"); err != nil {
		t.Errorf("%s: /run is still there: %v", name, err)
	}
	if state, err := h.Settle(ctx); err != nil || state != "running" {
		t.Errorf("%s: state %q, %v", name, state, err)
	}
	want(t, f, h, "systemctl is-active "+fleet.AgentUnit, "active")
}

func TestShell(t *testing.T) {
	f := boot(t, fleet.Options{Hosts: []fleet.Spec{{Name: "london-1"}}})
	h := f.Host("london-1")
	out, err := h.Shell(t.Context(), "echo out; echo complaint >&2; exit 3")
	var exit *exec.ExitError
	if out != "out\n" || !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "complaint") {
		t.Errorf("got %q, %v", out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := h.Shell(ctx, "sleep 86399; :")
		ended <- err
	}()
	if _, err := h.Shell(t.Context(), "until pgrep -x -f 'sleep 86399'; do :; done"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("a shell that was cancelled ended well")
	}
	if out, err := h.Shell(t.Context(), "pgrep -x -f 'sleep 86399'"); err == nil {
		t.Errorf("still running after the cancellation: %s", out)
	}
	if err := h.PowerOff(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := h.Shell(t.Context(), "true"); err == nil {
		t.Error("a shell on a host that is off")
	}
}

func TestProgramInside(t *testing.T) {
	f := boot(t, fleet.Options{Hosts: []fleet.Spec{{Name: "london-1"}}})
	h := f.Host("london-1")
	for _, user := range []string{h.User, "root"} {
		out, err := f.Command(t.Context(), "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
			"-o", "UserKnownHostsFile="+f.KnownHosts, "-i", f.IdentityFile, user+"@"+h.Addr, "id -un").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != user {
			t.Errorf("ssh as %s: %q, %v", user, out, err)
		}
	}
	inventory := filepath.Join(t.TempDir(), "inventory.yaml")
	if err := f.WriteInventory(inventory, fleet.Inventory{
		Certificate: "/new.p12.b64",
		Defaults:    map[string]any{"health": map[string]any{"window": "1s"}},
		Rollout:     map[string]any{"parallel": 4},
		Hosts:       map[string]map[string]any{h.Name: {"labels": map[string]string{"site": "london"}}},
	}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	expected := strings.NewReplacer("IDENTITY", f.IdentityFile, "KNOWN", f.KnownHosts).Replace(`defaults:
    certificate: /new.p12.b64
    health:
        window: 1s
    identity_file: IDENTITY
    known_hosts: KNOWN
    ssh_config: none
    user: azureuser
hosts:
    london-1:
        address: 127.0.10.1
        labels:
            site: london
rollout:
    parallel: 4
version: 1
`)
	if string(text) != expected {
		t.Errorf("inventory:\n%s\nwant:\n%s", text, expected)
	}
}
