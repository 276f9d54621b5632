package host

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// forced returns a real sshd that runs this ForceCommand of sshd_config(5) for each session.
func forced(t *testing.T, command string) *server {
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("sshd is needed: %v", err)
	} else if err != nil {
		t.Skipf("no sshd: %v", err)
	}
	if onRoot(t) {
		check(t, os.MkdirAll("/run/sshd", 0o755)) // sshd's chroot for privilege separation
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"host", "id"} {
		check(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path(name)).Run())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	check(t, listener.Close())
	config := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nForceCommand %s\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
		port, path("host"), path("id.pub"), command)
	check(t, os.WriteFile(path("config"), []byte(config), 0o600))
	cmd := exec.Command(sshd, "-D", "-e", "-f", path("config"))
	log, err := cmd.StderrPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Server listening on") {
	}
	go func() { // sshd blocks if its log is not read
		for lines.Scan() {
		}
	}()
	key, err := os.ReadFile(path("host.pub"))
	check(t, err)
	public, _, _, _, err := ssh.ParseAuthorizedKey(key)
	check(t, err)
	check(t, os.WriteFile(path("known"), fmt.Appendf(nil, "[127.0.0.1]:%d %s", port, ssh.MarshalAuthorizedKey(public)), 0o600))
	me, err := user.Current()
	check(t, err)
	s := &server{dir: dir, target: remote.Target{Address: "127.0.0.1", Port: port, User: me.Username, IdentityFiles: []string{path("id")}, KnownHosts: path("known")}}
	s.wrap = func(command string) []string {
		return []string{"ssh", "-F", "none", "-i", path("id"), "-o", "UserKnownHostsFile=" + path("known"), "-p", fmt.Sprint(port), me.Username + "@127.0.0.1", command}
	}
	return s
}

// TestForcedCommand: what answers in place of the program is not called a refusal of sudo, and
// its text is what ssh shows.
func TestForcedCommand(t *testing.T) {
	t.Parallel()
	const nothing = "the host did not run the command, and printed nothing"
	for name, c := range map[string]struct{ command, prints, message string }{
		"sftp":     {"internal-sftp", "This service allows sftp connections only.", "the host did not run the command: This service allows sftp connections only."},
		"nologin":  {"/usr/sbin/nologin", "This account is currently not available.", "the host did not run the command: This account is currently not available."},
		"false":    {"/bin/false", "", nothing},
		"true":     {"/bin/true", "", nothing},
		"greeting": {"echo Welcome", "Welcome", "the host did not run the command: Welcome"},
		"expired":  {"echo 'WARNING: Your password has expired.' >&2; echo 'Password change required but no TTY available.' >&2; exit 1", "WARNING: Your password has expired.\nPassword change required but no TTY available.", "the host did not run the command: Password change required but no TTY available."},
		"denied":   {"echo 'only backups here' >&2; exit 1", "only backups here", "the host did not run the command: only backups here"},
	} {
		t.Run(name, func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			s := forced(t, c.command)
			if out, _ := s.says("sudo -n sh -s"); strings.TrimSpace(out) != c.prints {
				t.Errorf("ssh shows %q", out)
			}
			for _, p := range []*Password{nil, password("s3cret")} {
				reason := s.observe(t, p, "")
				if reason == nil || reason.Class != problem.Command || reason.Message != c.message || !strings.Contains(reason.Hint, "ForceCommand") {
					t.Errorf("password %v: %+v, hint %q", p != nil, reason, reason.Hint)
				}
				if p != nil && p.known() != untried {
					t.Errorf("verdict %v", p.known())
				}
			}
		})
	}
}

// A command that ends before it has read the script has printed why all the same: what cannot
// be sent does not hide it.
func TestForcedCommandThatHasEnded(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{"internal-sftp": "This service allows sftp connections only.", "echo Welcome": "Welcome", "/bin/true": ""} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			h := inventory.Host{Name: "vm", User: "azureuser", Agent: inventory.Agent{Unit: unitName, Config: "/mnt/config.yaml", Log: logPath}}
			v := New(forced(t, command).dial(t), h, Run{ID: "r"}, nil)
			check(t, v.open(t.Context()))
			_ = v.shell.process.Wait() // it exits with 1 or 0
			var heard []string
			err := v.exchange(t.Context(), "observe", [][]byte{opening()}, func(line string) { heard = append(heard, line) })
			if got := strings.TrimSpace(strings.Join(heard, "\n")); got != want {
				t.Errorf("heard %q, expected %q; %v", got, want, err)
			}
		})
	}
}
