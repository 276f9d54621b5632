//go:build e2e && linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

const rightPassword, wrongPassword = "correct horse battery", "tr0ub4dor and 3"

// lockingPAM is a PAM stack that locks the account at the second wrong password
// (pam_faillock(8)).
const lockingPAM = `auth required pam_faillock.so preauth silent deny=2 unlock_time=900
auth sufficient pam_unix.so
auth [default=die] pam_faillock.so authfail deny=2 unlock_time=900
account required pam_unix.so
session required pam_limits.so
`

// TestPasswords tests password and keyboard-interactive through PAM. A wrong password
// is one attempt on a host, at most three hosts receive it, and no account is
// locked: the right password is accepted afterwards.
func TestPasswords(t *testing.T) {
	methods := map[string]string{
		"password-1":    "PasswordAuthentication yes\nKbdInteractiveAuthentication no\n",
		"interactive-1": "PasswordAuthentication no\nKbdInteractiveAuthentication yes\n",
		"both-1":        "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\n",
		"password-2":    "PasswordAuthentication yes\nKbdInteractiveAuthentication no\n",
	}
	var specs []fleet.Spec
	for name := range methods {
		specs = append(specs, fleet.Spec{Name: name})
	}
	w := newWorld(t, specs...)
	for _, h := range w.fleet.Hosts {
		w.write(h, "etc/ssh/sshd_config.d/a.conf", methods[h.Name]) // the first value counts
		w.write(h, "etc/pam.d/sshd", lockingPAM)
		w.shell(h, "printf '%s\\n' '"+h.User+":"+rightPassword+"' | chpasswd && systemctl restart ssh")
	}
	heard := func() (total int) {
		for _, h := range w.fleet.Hosts {
			n, err := strconv.Atoi(w.shell(h, "journalctl -q -u ssh -o cat | grep -c 'authentication failure;' || :"))
			if err != nil || n > 1 {
				t.Errorf("%s: %d wrong passwords, %v", h.Name, n, err)
			}
			total += n
		}
		return total
	}
	if out, code := w.withPassword(t, wrongPassword); code != 4 || !strings.Contains(out, "refused user azureuser with the password") ||
		!strings.Contains(out, "not tried: 3 hosts refused this credential") {
		t.Errorf("wrong password: exit code %d\n%s", code, out)
	}
	if n := heard(); n != 3 {
		t.Errorf("%d hosts heard the wrong password", n)
	}
	for range 2 {
		if out, code := w.withPassword(t, rightPassword); code != 0 || strings.Count(out, "active") < len(methods) {
			t.Errorf("right password: exit code %d\n%s", code, out)
		}
	}
	if n := heard(); n != 3 {
		t.Errorf("%d wrong passwords in all", n)
	}
}

// withPassword runs status on all hosts, with a password and no key.
func (w *world) withPassword(t *testing.T, password string) (string, int) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inventory := filepath.Join(w.dir, "passwords.yaml")
	if err := w.fleet.WriteInventory(inventory, fleet.Inventory{Defaults: map[string]any{
		"identity_file": "none", "password_from": map[string]string{"file": secret}}}); err != nil {
		t.Fatal(err)
	}
	cmd := w.fleet.Command(t.Context(), w.program, "status", "-i", inventory)
	cmd.Env = append(w.environment(), "SSH_AUTH_SOCK=")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.Contains(string(out), password) {
		t.Errorf("the password is shown:\n%s", out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
