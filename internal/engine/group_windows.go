package engine

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps the signals of the console from a process.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// killGroup kills a process. Those that it has started lose their streams.
func killGroup(p *os.Process) { _ = p.Kill() }
