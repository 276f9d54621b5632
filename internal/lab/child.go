package lab

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// drainTime is the wait for the output of a command that has ended, if another
// process still holds its streams.
const drainTime = 10 * time.Second

// markVariable is in the environment of every process of a machine and contains
// the machine's directory, so that a power cut finds all of them: a process group
// is not enough, because timeout(1) creates its own.
const markVariable = "LAB_MACHINE="

// mark returns the whole entry. No other machine's entry begins with it.
func (m *Machine) mark() string { return markVariable + m.dir + "/" }

var errNoPower = errors.New("the machine is off")

// child is a command that runs on a machine.
type child struct {
	stdin io.WriteCloser

	mu      sync.Mutex // held during the start
	cmd     *exec.Cmd
	running bool
}

// start runs argv in the home directory, with the machine's environment and
// the two descriptors of its stand-ins. As with sshd, the end of an SSH connection
// does not end the command, which only sees the end of its input. A power cut does.
func (c *child) start(m *Machine, life *life, argv []string, stdout, stderr io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cmd, err := m.command(life.ctx, argv)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	calls, err := newCallPipes(cmd)
	if err != nil {
		return errors.Join(err, c.stdin.Close())
	}
	err = life.start(cmd)
	calls.started()
	if err != nil {
		calls.close()
		return errors.Join(err, c.stdin.Close())
	}
	c.cmd, c.running = cmd, true
	if !life.tasks.Go(func() { calls.serve(life.ctx, m.fleet.opts.Notice, life.systemd.call) }) {
		calls.close()
	}
	return nil
}

// command returns a command with the machine's environment and directory.
func (m *Machine) command(ctx context.Context, argv []string) (*exec.Cmd, error) {
	path, err := m.path()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", argv[1:]...)
	if argv[0] != "sh" && argv[0] != "/bin/sh" {
		cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	}
	inGroup(cmd)
	cmd.WaitDelay = drainTime
	cmd.Dir = m.Home
	cmd.Env = []string{
		"PATH=" + path, "HOME=" + m.Home, "USER=" + LoginUser, "LOGNAME=" + LoginUser, "SHELL=/bin/sh", "LANG=C.UTF-8",
		"LAB_UID=" + strconv.Itoa(os.Getuid()), "LAB_GID=" + strconv.Itoa(os.Getgid()), m.mark(),
	}
	return cmd, nil
}

// wait waits for the end of the command and of its output, and returns its status or signal.
func (c *child) wait() (status int, signal string) {
	_ = c.cmd.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
	return exitOf(c.cmd)
}

// signal sends a signal to the command's process group while the command runs. A
// nil child gets none.
func (c *child) signal(s syscall.Signal) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		signalGroup(c.cmd, s)
	}
}

// freeze stops the command, which must be killed afterwards.
func (c *child) freeze() { c.signal(stopSignal) }

// path returns the machine's current PATH.
func (m *Machine) path() (string, error) {
	return m.fleet.tools.path(m.programs(), m.missingTool())
}

// block returns the text that replaces host.sh's own description of its machine.
// It has no single quote, because the script may contain it within a pair.
func (m *Machine) block() (string, error) {
	path, err := m.path()
	return "PATH=" + path + "\nexport PATH\nROOT=" + m.Root + "\n", err
}

// shell returns the argv that runs a command as sshd does. With a full disk
// no file can grow beyond the number of 512-byte blocks of the fault, by default
// zero: that also fails with an error of write(2), EFBIG instead of
// ENOSPC, and needs no separate file system.
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

// runTimed runs the process of a transient service: as root, without input, with
// its output in the journal.
func (m *Machine) runTimed(life *life, argv []string) {
	journal, err := os.OpenFile(filepath.Join(m.dir, "journal"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		m.noticeStartError(err)
		return
	}
	defer journal.Close()
	c := &child{}
	if err := c.start(m, life, argv, journal, journal); err != nil {
		m.noticeStartError(err)
		return
	}
	_ = c.stdin.Close()
	_, _ = c.wait()
}

// noticeStartError passes the reason why a command did not start to Options.Notice, unless the power is off.
func (m *Machine) noticeStartError(err error) {
	if !errors.Is(err, errNoPower) && !errors.Is(err, context.Canceled) {
		m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
	}
}
