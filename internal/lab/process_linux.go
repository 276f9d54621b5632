package lab

import (
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inGroup makes cmd the leader of a process group, and its end that of all in it.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// stopSignal halts a process, whatever it does about signals.
const stopSignal = syscall.SIGSTOP

// signalGroup sends s to all in the process group of cmd.
func signalGroup(cmd *exec.Cmd, s syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, s) }

// exitOf is the exit status of a process that has ended, or the name of the
// signal that ended it, as SSH calls it (RFC 4254 section 6.10).
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

// monotonic is CLOCK_MONOTONIC, which systemd's timestamps are on.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
