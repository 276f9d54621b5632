package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// syncBuffer is a buffer that can be read during writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestExec(t *testing.T) {
	f, m := startOne(t, Options{})
	tests := map[string]struct {
		command, stdin string
		want           result
	}{
		"status":        {"exit 7", "", result{status: 7}},
		"streams":       {"echo out; echo err >&2", "", result{stdout: "out\n", stderr: "err\n"}},
		"input":         {"cat", "some\nlines", result{stdout: "some\nlines"}},
		"home":          {"pwd; echo $HOME $LOGNAME", "", result{stdout: m.Home + "\n" + m.Home + " azureuser\n"}},
		"root login":    {"sh -s", hostScript("echo $ROOT"), result{stdout: m.Root + "\n"}},
		"as root":       {"sudo -n sh -s", hostScript("echo $ROOT $SUDO_USER $SUDO_UID $SUDO_GID"), result{stdout: fmt.Sprintln(m.Root, "azureuser", os.Getuid(), os.Getgid())}},
		"stand-in":      {"sh -s", hostScript("command -v systemctl"), result{stdout: filepath.Join(f.Dir(), "tools/bin/systemctl") + "\n"}},
		"other program": {"sh -s", hostScript("command -v awk >/dev/null && echo yes"), result{stdout: "yes\n"}},
		"setpriv":       {"sudo -n sh -s", hostScript("setpriv --reuid=$SUDO_UID --regid=$SUDO_GID --clear-groups -- timeout 5 head -c 3 -- $ROOT/etc/az-aoi-ingestion/config.yaml"), result{stdout: "age"}},
		"a copy":        {"sh -s", hostScript("cat <<'X'", "# --- machine ---", "ROOT=/nowhere", "# --- end machine ---", "X"), result{stdout: machineBegin + "PATH=" + m.programs() + ":" + f.Dir() + "/tools/bin:" + systemPath + "\nexport PATH\nROOT=" + m.Root + "\n" + machineEnd}},
		"bad sudo":      {"sudo --askpass true", "", result{stderr: "sudo: the lab does not know --askpass\n", status: 1}},
		"uptime":        {"sh -s", hostScript(`read -r up _ <"$ROOT/proc/uptime"; [ -n "$up" ] && echo yes`), result{stdout: "yes\n"}},
		"not found":     {"no-such-program", "", result{stderr: "sh: 1: no-such-program: not found\n", status: 127}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := mustRun(t, m, tt.command, tt.stdin)
			if name == "not found" { // each shell has its own message
				got.stderr = tt.want.stderr
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if got := m.Execs(); got.Execs != int64(len(tests)) || got.Connections != int64(len(tests)) || got.Transfers != 0 {
		t.Errorf("counted %+v after %d", got, len(tests))
	}
}

func TestExecSignal(t *testing.T) {
	_, m := startOne(t, Options{})
	session, err := mustDial(t, m).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := session.Run("kill -TERM $$"); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("%v", err)
	}
}

// The client sends `confirm` only after it has seen the verdict, in one stream
// with the script.
func TestConversation(t *testing.T) {
	_, m := startOne(t, Options{})
	c := begin(t, mustDial(t, m), "sudo -n sh -s", hostScript("echo ready; read -r line; echo \"got $line\"; exit"))
	eventually(t, "the script asks", func() bool { return c.stdout.String() == "ready\n" })
	if _, err := io.WriteString(c.stdin, "confirm RUN\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.session.Wait(); err != nil || c.stdout.String() != "ready\ngot confirm RUN\n" {
		t.Errorf("%q, %v", c.stdout.String(), err)
	}
}

// A cut connection does not kill the script, which sees the end of its input.
func TestCutConnectionEndsInput(t *testing.T) {
	_, m := startOne(t, Options{})
	client := mustDial(t, m)
	c := begin(t, client, "sudo -n sh -s", hostScript(
		"trap '' PIPE HUP", "echo ready", "if read -r line; then echo $line; else echo ended; fi >$ROOT/tmp/seen", "systemctl is-active "+Unit+" >>$ROOT/tmp/seen"))
	eventually(t, "the script waits", func() bool { return c.stdout.String() != "" })
	_ = client.Close()
	eventually(t, "the script goes on", func() bool {
		data, _ := os.ReadFile(m.inRoot("/tmp/seen"))
		return string(data) == "ended\nactive\n"
	})
}

func TestHalfAScript(t *testing.T) {
	_, m := startOne(t, Options{})
	whole := hostScript("main() { echo done; }", "main")
	for _, cut := range []int{5, len(machineBegin) + 3, len(whole) - 3} {
		if r := mustRun(t, m, "sh -s", whole[:cut]); strings.Contains(r.stdout, "done") {
			t.Errorf("cut at %d: %+v", cut, r)
		}
	}
}

func TestSFTP(t *testing.T) {
	_, m := startOne(t, Options{})
	client, err := sftp.NewClient(mustDial(t, m))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Mkdir("stage"); err != nil {
		t.Fatal(err)
	}
	file, err := client.OpenFile("stage/file", os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte("bytes")); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(m.Home, "stage/file")); err != nil || string(data) != "bytes" {
		t.Errorf("%q, %v", data, err)
	}
	if got := m.Execs(); got.Transfers != 1 || got.Execs != 0 {
		t.Errorf("%+v", got)
	}
}

func TestMaxSessions(t *testing.T) {
	_, m := startOne(t, Options{})
	client := mustDial(t, m)
	for range maxSessions {
		begin(t, client, "cat", "")
	}
	if _, err := client.NewSession(); err == nil {
		t.Error("one session too many")
	}
}

func TestRefusals(t *testing.T) {
	_, m := startOne(t, Options{})
	client := mustDial(t, m)
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("xterm", 24, 80, nil); err == nil {
		t.Error("a terminal")
	}
	if err := session.RequestSubsystem("netconf"); err == nil {
		t.Error("an unknown subsystem")
	}
	if _, _, err := client.OpenChannel("x11", nil); err == nil {
		t.Error("an unknown channel")
	}
	if ok, _, err := client.SendRequest("keepalive@openssh.com", true, nil); ok || err != nil {
		t.Errorf("keep-alive: %v, %v", ok, err)
	}
}
