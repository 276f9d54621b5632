//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC

// tracer follows a process and its descendants.
type tracer struct {
	root   string
	only   list
	except list
	live   string
	out    io.Writer
	at     string // the name of the call to break
	match  *regexp.Regexp
	fault  string
	disks  []*disk
	lost   list

	main      int
	attached  bool
	processes map[int]*process
	seen      map[string]int // how often a call was made, by name
	fired     bool
	dead      bool // all processes were killed
}

// process is a traced process.
type process struct {
	program string
	call    *call  // the call that it is in, if that counts
	breaks  bool   // it is the one to break
	result  *int64 // of the call, instead of its own
}

// start runs a command under the tracer and returns its status.
func (t *tracer) start(cmd *exec.Cmd) (unix.WaitStatus, error) {
	if err := t.saveAll(); err != nil {
		return 0, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	t.main = cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.main, &status, 0, nil); err != nil {
		return 0, err
	}
	if !status.Stopped() {
		return status, errors.New("the command has ended before it began")
	}
	if err := unix.PtraceSetOptions(t.main, options|unix.PTRACE_O_EXITKILL); err != nil {
		return 0, err
	}
	t.processes[t.main] = &process{program: t.program(t.main)}
	if err := unix.PtraceSyscall(t.main, 0); err != nil {
		return 0, err
	}
	return t.follow()
}

// attach follows a process that runs already, until the fault has happened.
func (t *tracer) attach(pid int) (unix.WaitStatus, error) {
	t.attached = true
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, options, 0, 0); errno != 0 {
		return 0, errno
	}
	t.processes[pid] = &process{program: t.program(pid)}
	if err := unix.PtraceInterrupt(pid); err != nil {
		return 0, err
	}
	t.notice("attached")
	return t.follow()
}

// follow handles the stops of all processes until none is left.
func (t *tracer) follow() (unix.WaitStatus, error) {
	var result unix.WaitStatus
	for len(t.processes) > 0 {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if !status.Stopped() {
			delete(t.processes, pid)
			if pid == t.main {
				result = status
			}
			continue
		}
		if err := t.stopped(pid, status); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	if t.dead && t.fault == "power" {
		return result, t.loseAll()
	}
	return result, nil
}

// stopped handles a stop and continues the process (ptrace(2), "Stopped states").
func (t *tracer) stopped(pid int, status unix.WaitStatus) error {
	p, known := t.processes[pid]
	if t.dead && !t.attached {
		t.processes[pid] = &process{}
		return unix.Kill(pid, unix.SIGKILL)
	}
	if !known { // a child may stop before its parent reports it
		p = &process{program: t.program(pid)}
		t.processes[pid] = p
		return unix.PtraceSyscall(pid, 0)
	}
	if t.attached && t.fired && p.call == nil {
		delete(t.processes, pid)
		return unix.PtraceDetach(pid)
	}
	signal := 0
	switch event := int(status>>16) & 0xff; {
	case event == unix.PTRACE_EVENT_EXEC:
		p.program = t.program(pid)
		if p.program == "" {
			delete(t.processes, pid)
			return unix.PtraceDetach(pid)
		}
	case event != 0:
	case status.StopSignal() == syscall.SIGTRAP|0x80:
		if err := t.atCall(pid, p); err != nil {
			return err
		}
	default:
		signal = int(status.StopSignal())
	}
	return unix.PtraceSyscall(pid, signal)
}

// program returns the name of a process' program, or "" if it is not to be traced.
func (t *tracer) program(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	argv := strings.Split(string(text), "\x00")
	for _, arg := range argv[:min(2, len(argv))] {
		if slices.ContainsFunc(t.except, func(dir string) bool { return strings.HasPrefix(arg, dir+"/") }) {
			return ""
		}
	}
	return path.Base(argv[0])
}

// syscallInfo is struct ptrace_syscall_info (linux/ptrace.h).
type syscallInfo struct {
	op     uint8
	_      [3]uint8
	_      uint32
	_, _   uint64
	number uint64 // at the exit the result
	args   [6]uint64
	_      uint64
}

const (
	getSyscallInfo = 0x420e
	entry          = 1
)

// atCall handles the entry to a system call, or its exit.
func (t *tracer) atCall(pid int, p *process) error {
	var info syscallInfo
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(pid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 {
		return errno
	}
	if info.op != entry {
		return t.exits(pid, p, int64(info.number))
	}
	if p.call = t.identify(pid, p, info); p.call == nil {
		return nil
	}
	return t.enters(pid, p)
}
