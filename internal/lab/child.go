package lab

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// drainTime is how long the output of a command is waited for when it has
// ended and something that it left behind still holds its streams.
const drainTime = 10 * time.Second

// child is a command that runs on a machine.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	calls *callPipes
}

// start runs argv in the home directory, with the machine's environment and
// the two descriptors of its stand-ins. The end of an SSH connection does not
// end it, as with sshd: it only sees the end of its input. The fleet's end does.
func (m *Machine) start(argv []string, stdout, stderr io.Writer) (*child, error) {
	path, err := m.path()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(m.fleet.ctx, "/bin/sh", argv[1:]...)
	if argv[0] != "sh" && argv[0] != "/bin/sh" {
		cmd = exec.CommandContext(m.fleet.ctx, argv[0], argv[1:]...)
	}
	inGroup(cmd)
	cmd.WaitDelay = drainTime
	cmd.Dir = m.Home
	cmd.Env = []string{
		"PATH=" + path, "HOME=" + m.Home, "USER=" + LoginUser, "LOGNAME=" + LoginUser, "SHELL=/bin/sh", "LANG=C.UTF-8",
		"LAB_UID=" + strconv.Itoa(os.Getuid()), "LAB_GID=" + strconv.Itoa(os.Getgid()),
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	calls, err := newCallPipes(cmd)
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	err = cmd.Start()
	calls.started()
	if err != nil {
		calls.close()
		return nil, err
	}
	if !m.fleet.tasks.Go(func() { calls.serve(m.fleet, m.systemd.call) }) {
		calls.close()
	}
	return &child{cmd: cmd, stdin: stdin, calls: calls}, nil
}

// wait waits for the end of the command and of its output.
func (c *child) wait() (status int, signal string) {
	_ = c.cmd.Wait()
	return exitOf(c.cmd)
}

// path is the machine's PATH now.
func (m *Machine) path() (string, error) {
	var first []string
	for _, name := range []string{faultSudoPassword, faultDiskFull} {
		if _, ok := m.faults.get(name); ok {
			first = append(first, name)
		}
	}
	missing, _ := m.faults.get(faultMissingTool)
	if _, ok := m.faults.get(faultNoOpenSSL); ok {
		missing = "openssl"
	}
	return m.fleet.tools.path(first, missing)
}

// block stands in a script for host.sh's own description of its machine.
func (m *Machine) block() (string, error) {
	path, err := m.path()
	return "PATH=" + path + "\nexport PATH\nROOT=" + m.Root + "\n", err
}

// shell is the command line that runs a command as sshd does. With a full disk
// no file can grow over the given number of 512-byte blocks, zero unless the
// fault says more: that also fails with an error from write(2), EFBIG instead of
// ENOSPC, and needs no file system of its own.
func (m *Machine) shell(command string) []string {
	blocks, full := m.faults.get(faultDiskFull)
	if !full {
		return []string{"sh", "-c", command}
	}
	if blocks == "" {
		blocks = "0"
	}
	return []string{"sh", "-c", `trap '' XFSZ; ulimit -f "$1"; exec sh -c "$2"`, "sh", blocks, command}
}

// runTimed is the process of a transient service: as root, nothing on stdin,
// what it prints in the journal.
func (m *Machine) runTimed(_ context.Context, argv []string) {
	journal, err := os.OpenFile(filepath.Join(m.dir, "journal"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
		return
	}
	defer journal.Close()
	c, err := m.start(argv, journal, journal)
	if err != nil {
		m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
		return
	}
	_ = c.stdin.Close()
	_, _ = c.wait()
}
