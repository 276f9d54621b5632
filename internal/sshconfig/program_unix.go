//go:build unix

package sshconfig

import (
	"os/exec"
	"syscall"
)

// ownSession runs the program in its own session, so that it has no terminal, a Ctrl-C
// does not reach it, and its children end with it.
func ownSession(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
