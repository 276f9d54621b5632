package lab

import (
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inGroup makes cmd the leader of a process group, and makes its end kill the group.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// stopSignal stops a process, which can't catch it.
const stopSignal = syscall.SIGSTOP

// signalGroup sends s to all processes in the process group of cmd.
func signalGroup(cmd *exec.Cmd, s syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, s) }

// exitOf returns the exit status of a process that has ended, or SSH's name of the
// signal that ended it (RFC 4254 section 6.10).
func exitOf(cmd *exec.Cmd) (status int, signal string) {
	if cmd.ProcessState == nil {
		return -1, ""
	}
	wait, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !wait.Signaled() {
		return cmd.ProcessState.ExitCode(), ""
	}
	name := unix.SignalName(wait.Signal())
	if len(name) > 3 {
		name = name[3:] // without SIG
	}
	return -1, name
}

// monotonic returns CLOCK_MONOTONIC, the clock of systemd's timestamps.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
