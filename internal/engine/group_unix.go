//go:build unix

package engine

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps the signals of the terminal from a process.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills a process and those that it has started, such as a command that prints keys.
func killGroup(p *os.Process) {
	if p.Signal(syscall.Signal(0)) == nil { // else its ID may be another one's by now
		_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
	}
}
