//go:build unix

package remote

import (
	"os/exec"
	"syscall"
)

// startGroup starts cmd in a session of its own: it has no terminal, a Ctrl-C
// does not reach it, and all of it can be ended.
func startGroup(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// endGroup asks the processes of cmd to end, or makes them.
func endGroup(cmd *exec.Cmd, now bool) {
	signal := syscall.SIGTERM
	if now {
		signal = syscall.SIGKILL
	}
	_ = syscall.Kill(-cmd.Process.Pid, signal)
}
