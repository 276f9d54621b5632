package remote

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// withoutSFTP connects to a server without SFTP whose commands print stderr and end
// with status.
func withoutSFTP(t *testing.T, stderr string, status uint32) *Conn {
	t.Helper()
	s := newFakeServer(t)
	s.refuse["subsystem"] = true
	s.exec = func(ch ssh.Channel, _ string) {
		_, _ = io.WriteString(ch.Stderr(), stderr)
		exitStatus(ch, status)
		_ = ch.Close()
	}
	return dial(t, newDialer(t, Options{}), s.start().target)
}

func TestPutByExecFails(t *testing.T) {
	for name, c := range map[string]struct {
		stderr  string
		status  uint32
		class   problem.Class
		message string
		cause   error
	}{
		"full":       {"Welcome\ncat: write error: No space left on device\n", cannotWrite, problem.Disk, "cannot write the file (without SFTP): cat: write error: No space left on device", nil},
		"no home":    {"mkdir: cannot create directory '.dir': Permission denied\n", cannotCreate, problem.Command, "cannot create the private directory: permission denied", fs.ErrPermission},
		"read-only":  {"mkdir: cannot create directory '.dir': Read-only file system\n", cannotCreate, problem.Disk, "cannot create the private directory (without SFTP): mkdir: cannot create directory '.dir': Read-only file system", nil},
		"no shell":   {"This account is currently not available.\x1b[2J\n", 1, problem.Command, "cannot write the file (without SFTP): This account is currently not available.", nil},
		"no program": {"env: 'sh': No such file or directory\n", 127, problem.Command, "cannot write the file (without SFTP): env: 'sh': No such file or directory", nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := withoutSFTP(t, c.stderr, c.status).Put(testContext(t), ".dir", "file", []byte("hunter2"))
			if e := wantError(t, err, c.class, c.message); e != nil && c.cause != nil && !errors.Is(e, c.cause) {
				t.Errorf("cause %v", e.Err)
			}
		})
	}
	for _, name := range []string{"a b", "a;id", "-a", "a'b", "a$b", "a!b", "ä"} {
		wantError(t, withoutSFTP(t, "", 0).Put(testContext(t), name, "file", nil), problem.Internal, "not a plain")
		wantError(t, withoutSFTP(t, "", 0).Remove(testContext(t), ".dir", name), problem.Internal, "not a plain")
	}
}

// TestPutByExecCutShort checks that an incomplete file is removed.
func TestPutByExecCutShort(t *testing.T) {
	cmd := exec.Command("sh", "-c", putCommand+"dir file 10")
	cmd.Dir, cmd.Stdin = t.TempDir(), strings.NewReader("012345678")
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != cannotWrite {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(cmd.Dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	cmd = exec.Command("sh", "-c", putCommand+"dir file 10")
	cmd.Dir, cmd.Stdin = t.TempDir(), strings.NewReader("0123456789")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("%s, %v", out, err)
	}
}

// TestExecCommandsNeedNoQuoting checks that the commands pass unchanged through
// login shells other than POSIX shells.
func TestExecCommandsNeedNoQuoting(t *testing.T) {
	for _, command := range []string{putCommand, removeCommand} {
		if strings.ContainsAny(command, "!\\\n`") || strings.Count(command, "'") != 2 {
			t.Error(command)
		}
	}
}
