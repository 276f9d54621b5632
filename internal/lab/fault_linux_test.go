package lab

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// TestHostFaults tests faults of commands.
func TestHostFaults(t *testing.T) {
	f, m := startOne(t, Options{})
	tests := map[string]struct {
		fault, command, stdin string
		want                  result
	}{
		"sudo password": {"sudo-password", "sudo -n sh -s", "echo no\n", result{stderr: "sudo: a password is required\n", status: 1}},
		"no openssl":    {"no-openssl", "command -v openssl; command -v awk", "", result{stdout: f.Dir() + "/tools/without-openssl/awk\n"}},
		"missing tool":  {"missing-tool systemd-run", "sh -s", hostScript("command -v systemd-run; systemctl is-active " + Unit), result{stdout: "active\n"}},
		"disk full":     {"disk-full", "trap '' XFSZ; echo a >full || echo failed; df . | wc -l", "", result{stdout: "failed\n2\n"}},
		"nearly full":   {"disk-full 1", "echo a >small && echo done; head -c 600 /dev/zero >big || echo failed", "", result{stdout: "done\nfailed\n"}},
		"noise":         {"noise Welcome to this machine", "echo out", "", result{stdout: "Welcome to this machine\nout\n"}},
		"restart fails": {"restart-fails Job failed.", "systemctl restart " + Unit, "", result{stderr: "Job failed.\n", status: 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := m.SetFault(tt.fault); err != nil {
				t.Fatal(err)
			}
			got := mustRun(t, m, tt.command, tt.stdin)
			if strings.HasPrefix(tt.fault, "disk-full") {
				got.stderr = "" // each shell has its own message
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if err := m.SetFault(); err != nil {
		t.Fatal(err)
	}
	if r := onHost(t, m, "command -v openssl >/dev/null && echo well"); r.stdout != "well\n" {
		t.Errorf("after all: %+v", r)
	}
}

func TestEscapes(t *testing.T) {
	_, m := startOne(t, Options{})
	if err := m.SetFault("escapes"); err != nil {
		t.Fatal(err)
	}
	r := mustRun(t, m, "echo out", "")
	if !strings.HasPrefix(r.stdout, "\x1b]0;") || !strings.HasSuffix(r.stdout, "out\n") || !strings.Contains(r.stderr, "\x1b[2J") {
		t.Errorf("%+v", r)
	}
}

func TestEndlessOutput(t *testing.T) {
	_, m := startOne(t, Options{})
	if err := m.SetFault("endless-output"); err != nil {
		t.Fatal(err)
	}
	session, err := mustDial(t, m).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("true"); err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, out, 8<<20); err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestDialFaults tests faults of connections; SetFault() ends each of them.
func TestDialFaults(t *testing.T) {
	_, m := startOne(t, Options{})
	tests := map[string]struct {
		fault string
		want  string // of the error
	}{
		"unreachable": {"unreachable", "connection refused"},
		"host key":    {"changed-host-key", "key mismatch"},
		"auth":        {"auth-refused", "unable to authenticate"},
		"dropped":     {"drop-connections 1", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := m.SetFault(tt.fault); err != nil {
				t.Fatal(err)
			}
			client, err := dial(m)
			if err == nil {
				_ = client.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if name == "dropped" { // only once
				mustDial(t, m)
			}
			if err := m.SetFault(); err != nil {
				t.Fatal(err)
			}
			mustDial(t, m)
		})
	}
}

func TestAcceptSilent(t *testing.T) {
	_, m := startOne(t, Options{})
	if err := m.SetFault("accept-silent"); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "SSH-2.0-Go\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it spoke: %d, %v", n, err)
	}
}

func TestSFTPFaults(t *testing.T) {
	_, m := startOne(t, Options{})
	if err := m.SetFault("no-sftp"); err != nil {
		t.Fatal(err)
	}
	if _, err := sftp.NewClient(mustDial(t, m)); err == nil {
		t.Error("SFTP works")
	}
	if err := m.SetFault("sftp-full"); err != nil {
		t.Fatal(err)
	}
	client, err := sftp.NewClient(mustDial(t, m))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(client.Mkdir("stage"))
	must(client.Chmod("stage", 0o700))
	file, err := client.OpenFile("stage/file", os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	must(file.Chmod(0o600))
	if _, err := file.Write([]byte("bytes")); err == nil {
		t.Error("it could be written to")
	}
	_ = file.Close()
	if info, err := os.Stat(filepath.Join(m.Home, "stage/file")); err != nil || info.Size() != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	must(client.Remove("stage/file"))
	must(client.RemoveDirectory("stage"))
	if entries, err := os.ReadDir(m.Home); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestCut tests the script's input after a connection is cut at a text.
func TestCut(t *testing.T) {
	tests := map[string]struct {
		fault  string
		stdout string // received by the client
		seen   string // received by the script
	}{
		"before, from the client": {"cut-before \"confirm RUN\"", "verdict=good\n", "ended\n"},
		"on, from the client":     {"cut-on \"confirm RUN\\n\"", "verdict=good\n", "confirm RUN\n"},
		"before, from the host":   {"cut-before out:verdict=", "", "ended\n"},
		"gone":                    {"gone-on \"confirm RUN\\n\"", "verdict=good\n", "confirm RUN\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, m := startOne(t, Options{})
			client := mustDial(t, m)
			if err := m.SetFault(tt.fault); err != nil {
				t.Fatal(err)
			}
			c := begin(t, client, "sudo -n sh -s", hostScript("trap '' PIPE HUP", "echo verdict=good", "read -r line || line=ended; echo $line >$ROOT/tmp/seen; exit"))
			if tt.stdout != "" {
				eventually(t, "the verdict", func() bool { return c.stdout.String() == tt.stdout })
				_, _ = io.WriteString(c.stdin, "confirm RUN\n")
			}
			var lost *ssh.ExitMissingError
			if err := c.session.Wait(); !errors.As(err, &lost) {
				t.Errorf("the client has %v", err)
			}
			eventually(t, "the script goes on", func() bool {
				data, _ := os.ReadFile(m.inRoot("/tmp/seen"))
				return string(data) == tt.seen
			})
			if c.stdout.String() != tt.stdout {
				t.Errorf("the client saw %q", c.stdout.String())
			}
			again, err := dial(m)
			if gone := name == "gone"; gone != errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("after that: %v", err)
			}
			if err == nil {
				_ = again.Close()
			}
		})
	}
}

func TestCutAfterBytes(t *testing.T) {
	_, m := startOne(t, Options{})
	for _, n := range []string{"1", "20", "400", "1500"} {
		if err := m.SetFault("cut-after " + n); err != nil {
			t.Fatal(err)
		}
		client, err := dial(m)
		if err == nil {
			_, err = run(client, "cat", strings.Repeat("x", 4096))
			_ = client.Close()
		}
		if err == nil {
			t.Errorf("not cut after %s bytes", n)
		}
		mustRun(t, m, "true", "") // once only
	}
}

func TestSilentOn(t *testing.T) {
	_, m := startOne(t, Options{})
	client := mustDial(t, m)
	if err := m.SetFault("silent-on out:verdict="); err != nil {
		t.Fatal(err)
	}
	c := begin(t, client, "sh -s", hostScript("echo verdict=good; echo more; read -r line; exit"))
	eventually(t, "the text has passed", func() bool { return c.stdout.String() != "" })
	reply := make(chan error, 1)
	go func() {
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		reply <- err
	}()
	mustRun(t, m, "true", "") // another connection works
	select {
	case err := <-reply:
		t.Errorf("an answer on a silent line: %v", err)
	default:
	}
	if c.stdout.String() != "verdict=" {
		t.Errorf("passed on: %q", c.stdout.String())
	}
	_ = client.Close()
	<-reply
}

func closeIf(client *ssh.Client) {
	if client != nil {
		_ = client.Close()
	}
}

func FuzzWatcher(f *testing.F) {
	f.Add("confirm", "aconfirmb", 3)
	f.Add("aab", "aaab", 1)
	f.Fuzz(func(t *testing.T, text, stream string, size int) {
		if text == "" || len(text) > maxFaultText || size <= 0 {
			return // nothing to search for
		}
		var w watcher
		want, at := strings.Index(stream, text), 0
		for chunk := range slices.Chunk([]byte(stream), size) {
			if begin, end, found := w.find(text, chunk); found {
				if want < 0 || at+end != want+len(text) || at+begin != max(want, at) {
					t.Fatalf("found at %d to %d, is at %d", at+begin, at+end, want)
				}
				return
			}
			w.remember(chunk)
			at += len(chunk)
		}
		if want >= 0 {
			t.Fatalf("missed at %d", want)
		}
	})
}
