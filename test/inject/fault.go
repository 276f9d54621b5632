//go:build linux && amd64

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// errnos are the faults that make a call fail. "read-only" is a file system that the
// kernel has made read-only after an error: every later call fails too.
var errnos = map[string]unix.Errno{"EIO": unix.EIO, "ENOSPC": unix.ENOSPC, "EROFS": unix.EROFS, "read-only": unix.EROFS}

// deaths are the faults that kill. A lost shell or a power failure ends all processes of
// a script at once. The kernel without memory, or an operator, kills one: program-killed.
var deaths = []string{"killed-before", "killed-after", "program-killed", "power"}

func (t *tracer) check() error {
	if _, ok := errnos[t.fault]; t.fault != "" && !ok && !slices.Contains(deaths, t.fault) {
		return fmt.Errorf("no fault %q", t.fault)
	}
	return nil
}

// enters breaks the call if it is the one, and answers a sync.
func (t *tracer) enters(pid int, p *process) error {
	here := !t.fired && (p.call.name == t.at || t.match != nil && t.match.MatchString(p.call.name))
	p.breaks = here
	if here {
		t.fired = true
		t.notice("broken: " + p.call.name)
	}
	errno, fails := errnos[t.fault]
	switch {
	case here && (t.fault == "killed-before" || t.fault == "power"):
		return errors.Join(t.log(pid, p.call, -int64(unix.EINTR)), t.killAll())
	case here && t.fault == "program-killed":
		return errors.Join(t.log(pid, p.call, -int64(unix.EINTR)), unix.Kill(pid, unix.SIGKILL))
	case here && fails, t.fired && t.fault == "read-only":
		return p.answer(pid, -int64(errno))
	case p.call.sync && len(t.disks) > 0:
		return p.answer(pid, 0)
	}
	return nil
}

// answer prevents the call, and sets its result.
func (p *process) answer(pid int, result int64) error {
	p.result = &result
	return setRegisters(pid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

// exits finishes a call.
func (t *tracer) exits(pid int, p *process, result int64) error {
	if p.call == nil {
		return nil
	}
	c := p.call
	p.call = nil
	if p.result != nil {
		result, p.result = *p.result, nil
		if err := setRegisters(pid, func(r *unix.PtraceRegs) { r.Rax = uint64(result) }); err != nil {
			return err
		}
	}
	if c.sync && result == 0 {
		if err := t.synced(c.paths); err != nil {
			return err
		}
	}
	if err := t.log(pid, c, result); err != nil {
		return err
	}
	if p.breaks && t.fault == "killed-after" {
		return t.killAll()
	}
	return nil
}

func setRegisters(pid int, change func(*unix.PtraceRegs)) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &r); err != nil {
		return err
	}
	change(&r)
	return unix.PtraceSetRegs(pid, &r)
}

// killAll kills all processes: the whole script. Of a daemon's children these are the
// processes that sudo has started.
func (t *tracer) killAll() error {
	t.dead = true
	for pid, p := range t.processes {
		if !t.attached || p.program != "sudo" && !strings.HasPrefix(p.program, "sshd") {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return nil
}

// notice tells the caller about a process that was attached.
func (t *tracer) notice(text string) {
	if t.attached {
		fmt.Println(text)
	}
}

// Record is one line of the record: a call that has ended.
type Record struct {
	Call  string
	Error string `json:",omitempty"`
	Main  bool   `json:",omitempty"` // made by the main process
	Live  string `json:",omitempty"` // the file of -live after it: owner, mode and digest
}

func (t *tracer) log(pid int, c *call, result int64) error {
	r := Record{Call: c.name, Main: pid == t.main, Live: state(t.live)}
	if result < 0 {
		r.Error = unix.ErrnoName(unix.Errno(-result))
	}
	return json.NewEncoder(t.out).Encode(r)
}

// state returns owner, mode and digest of a file.
func state(file string) string {
	if file == "" {
		return ""
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "none"
	}
	info, err := os.Lstat(file)
	if err != nil {
		return "none"
	}
	stat := info.Sys().(*syscall.Stat_t)
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%d:%d:%o %s", stat.Uid, stat.Gid, info.Mode().Perm(), hex.EncodeToString(sum[:]))
}
