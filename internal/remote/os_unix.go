//go:build unix

package remote

import (
	"context"
	"net"
	"os/exec"
	"syscall"
)

// startGroup starts cmd in a new session: it has no terminal, a Ctrl-C does not
// reach it, and endGroup ends all of its processes.
func startGroup(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// endGroup sends SIGTERM to the processes of cmd, or SIGKILL.
func endGroup(cmd *exec.Cmd, kill bool) {
	signal := syscall.SIGTERM
	if kill {
		signal = syscall.SIGKILL
	}
	_ = syscall.Kill(-cmd.Process.Pid, signal)
}

// dialAgent connects to the socket of ssh-agent.
func dialAgent(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", path)
}
