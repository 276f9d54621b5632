//go:build unix

package sshconfig

import (
	"os/exec"
	"syscall"
)

// alone gives the program a session of its own, so that it has no terminal to
// ask on, a Ctrl-C does not reach it, and all that it started ends with it.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
