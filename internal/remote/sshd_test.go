package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const sshdPath = "/usr/sbin/sshd"

// sshdSettings are the settings that a test changes; the zero value is the default.
type sshdSettings struct {
	umask string   // of the SFTP server; empty means 022
	extra []string // lines of sshd_config
	// private is a shell script that runs before sshd, as root, in a mount namespace of
	// its own; empty: none. $0 is the authorized_keys file.
	private string
}

// sshd is a real OpenSSH server for the current user, with three host keys.
type sshd struct {
	target     Target
	home       string
	dir        string
	authorized string                // the authorized_keys file
	hostKeys   map[string]ssh.Signer // by type: rsa, ecdsa, ed25519
	port       int
	stop       func() // ends the listener, not the processes of its connections

	mu  sync.Mutex
	log strings.Builder
}

// wantLogged checks that the server's log contains text n times. The log may be
// late, so it waits.
func (s *sshd) wantLogged(t *testing.T, n int, text string) {
	t.Helper()
	for ctx := testContext(t); s.logged(text) < n && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	if got := s.logged(text); got != n {
		t.Errorf("sshd has logged %q %d times, want %d", text, got, n)
	}
}

func (s *sshd) logged(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.log.String(), text)
}

// startSSHD starts a server. If sshd is not installed it skips the test, or fails it
// in CI.
func startSSHD(t *testing.T, settings sshdSettings) *sshd {
	t.Helper()
	if _, err := os.Stat(sshdPath); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("sshd is not installed: %v", err)
		}
		t.Skipf("sshd is not installed: %v", err)
	}
	if os.Getuid() == 0 { // sshd requires this chroot directory for privilege separation
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &sshd{dir: t.TempDir(), home: t.TempDir(), hostKeys: map[string]ssh.Signer{}}
	s.authorized = filepath.Join(s.dir, "authorized_keys")
	signer, _ := writeKey(t, filepath.Join(s.dir, "id"), "")
	writeFile(t, s.authorized, ssh.MarshalAuthorizedKey(signer.PublicKey()))
	s.makeHostKeys(t)
	s.launch(t, settings)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.target = Target{
		Name: "sshd", Address: "127.0.0.1", Port: s.port, User: me.Username,
		IdentityFiles:  []string{filepath.Join(s.dir, "id")},
		KnownHosts:     s.writeKnownHosts(t, "known_hosts", "rsa", "ecdsa", "ed25519"),
		ConnectTimeout: testTimeout,
	}
	return s
}

// rsaHostKey is the RSA host key of all servers, because creating one takes a second. The
// other keys of a server, which clients prefer, are its own.
var rsaHostKey = sync.OnceValues(func() (pair [2][]byte, err error) {
	dir, err := os.MkdirTemp("", "host-key")
	if err != nil {
		return pair, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", path).CombinedOutput(); err != nil {
		return pair, fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	private, err1 := os.ReadFile(path)
	public, err2 := os.ReadFile(path + ".pub")
	return [2][]byte{private, public}, errors.Join(err1, err2)
})

func (s *sshd) makeHostKeys(t *testing.T) {
	t.Helper()
	pair, err := rsaHostKey()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(s.dir, "host_rsa"), pair[0])
	writeFile(t, filepath.Join(s.dir, "host_rsa.pub"), pair[1])
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		path := filepath.Join(s.dir, "host_"+kind)
		if kind != "rsa" {
			openssh(t, "", "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if s.hostKeys[kind], err = ssh.ParsePrivateKey(data); err != nil {
			t.Fatal(err)
		}
	}
}

// launch starts sshd on a free port; another program may take the port first,
// so it tries again.
func (s *sshd) launch(t *testing.T, settings sshdSettings) {
	t.Helper()
	if settings.umask == "" {
		settings.umask = "022"
	}
	var failure string
	for range 5 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.port = listener.Addr().(*net.TCPAddr).Port
		_ = listener.Close()
		lines := []string{
			fmt.Sprintf("ListenAddress 127.0.0.1:%d", s.port),
			"HostKey " + filepath.Join(s.dir, "host_rsa"),
			"HostKey " + filepath.Join(s.dir, "host_ecdsa"),
			"HostKey " + filepath.Join(s.dir, "host_ed25519"),
			"AuthorizedKeysFile " + s.authorized,
			"PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no",
			"MaxStartups 1000", "PermitRootLogin yes",
			// bash reads ~/.bashrc when sshd starts it, and this user's may start many programs.
			"SetEnv HOME=" + s.home,
		}
		if !strings.Contains(strings.Join(settings.extra, "\n"), "Subsystem") {
			lines = append(lines, fmt.Sprintf("Subsystem sftp internal-sftp -u %s -d %s", settings.umask, s.home))
		}
		config := strings.Join(append(settings.extra, lines...), "\n") + "\n"
		writeFile(t, filepath.Join(s.dir, "sshd_config"), []byte(config))
		if failure = s.run(t, settings.private); failure == "" {
			return
		}
	}
	t.Fatalf("sshd does not start: %s", failure)
}

// run starts sshd and returns "" when it listens, else its output.
func (s *sshd) run(t *testing.T, private string) string {
	t.Helper()
	argv := []string{sshdPath, "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config")}
	if private != "" {
		argv = append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-euc", private + "\nexec \"$@\"", s.authorized}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := bufio.NewScanner(stderr)
	var output bytes.Buffer
	for log.Scan() {
		fmt.Fprintln(&output, log.Text())
		if strings.HasPrefix(log.Text(), "Server listening on") {
			var drain sync.WaitGroup
			drain.Go(func() {
				for log.Scan() { // sshd blocks if its log is not read
					s.mu.Lock()
					fmt.Fprintln(&s.log, log.Text())
					s.mu.Unlock()
				}
			})
			s.stop = sync.OnceFunc(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait() // closes the log, which the connections' processes keep open
				drain.Wait()
			})
			t.Cleanup(s.stop)
			return ""
		}
	}
	_ = cmd.Wait()
	return output.String()
}

// writeKnownHosts writes a known_hosts file with the host keys of these types.
func (s *sshd) writeKnownHosts(t *testing.T, name string, kinds ...string) string {
	t.Helper()
	var lines strings.Builder
	for _, kind := range kinds {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
		fmt.Fprintln(&lines, knownhosts.Line([]string{address}, s.hostKeys[kind].PublicKey()))
	}
	return writeFile(t, filepath.Join(s.dir, name), []byte(lines.String()))
}
