package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is the limit of a test's wait for an expected event.
const patience = 30 * time.Second

// pair returns certificates for all fleets, because creating a key is slow.
var pair = sync.OnceValues(func() (certificates, error) { return newCertificates(time.Now()) })

func start(t testing.TB, opts Options) *Fleet {
	t.Helper()
	made, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	if opts.Live == nil {
		opts.Live = made.old
	}
	if opts.New == nil {
		opts.New = made.new
	}
	return startWith(t, opts)
}

// startWith is start with the lab's own certificates.
func startWith(t testing.TB, opts Options) *Fleet {
	t.Helper()
	if opts.Notice == nil {
		opts.Notice = func(message string) { t.Log("notice: " + message) }
	}
	f, err := Start(context.Background(), opts)
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

// startOne starts a fleet of one machine.
func startOne(t testing.TB, opts Options) (*Fleet, *Machine) {
	t.Helper()
	f := start(t, opts)
	return f, f.Machines()[0]
}

func dial(m *Machine) (*ssh.Client, error) {
	data, err := os.ReadFile(m.fleet.IdentityFile())
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, err
	}
	check, err := knownhosts.New(m.fleet.KnownHostsFile())
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", m.Addr, &ssh.ClientConfig{
		User: LoginUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: check, Timeout: patience,
	})
}

func mustDial(t testing.TB, m *Machine) *ssh.Client {
	t.Helper()
	client, err := dial(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// result is the output and status of a command.
type result struct {
	stdout, stderr string
	status         int // -1: none
}

func run(client *ssh.Client, command, stdin string) (r result, err error) {
	session, err := client.NewSession()
	if err != nil {
		return result{status: -1}, err
	}
	defer session.Close()
	var stdout, stderr bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err = session.Run(command)
	var exit *ssh.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		r.status, err = exit.ExitStatus(), nil
	default:
		r.status = -1
	}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r, err
}

func mustRun(t testing.TB, m *Machine, command, stdin string) result {
	t.Helper()
	r, err := run(mustDial(t, m), command, stdin)
	if err != nil {
		t.Fatalf("%s: %v\n%+v", command, err, r)
	}
	return r
}

// hostScript returns a script like host.sh, with the block that the lab replaces.
func hostScript(lines ...string) string {
	head := []string{"# --- machine ---", "PATH=/nowhere", "export PATH", "ROOT=/nowhere", "# --- end machine ---"}
	return script(append(head, lines...)...)
}

// onHost runs a hostScript as root.
func onHost(t testing.TB, m *Machine, lines ...string) result {
	t.Helper()
	return mustRun(t, m, "sudo -n sh -s", hostScript(lines...))
}

// eventually polls, because the event happens in another process.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// runningCommand is a command that has not ended.
type runningCommand struct {
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  *syncBuffer
}

func begin(t testing.TB, client *ssh.Client, command, input string) runningCommand {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &syncBuffer{}
	session.Stdout = out
	if err := session.Start(command); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, input); err != nil {
		t.Fatal(err)
	}
	return runningCommand{session: session, stdin: stdin, stdout: out}
}
