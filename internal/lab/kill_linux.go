package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// killMarked kills every process whose environment has an entry that begins
// with mark, and waits until all are dead and have released their files and
// locks. It reports whether that happened within patience.
func killMarked(mark string, patience time.Duration) bool {
	seen := map[int]bool{}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		found := marked(mark)
		for _, pid := range found {
			seen[pid] = true
			kill(pid)
		}
		// A dying process loses its environment before its files are closed. A
		// process that forked in between is found in the next iteration.
		for pid := range seen {
			if !alive(pid) {
				delete(seen, pid)
			}
		}
		if len(found) == 0 && len(seen) == 0 {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// kill kills a process with its whole group at once: a stopped process would
// continue after the death of its parent, because the group is then orphaned and
// gets SIGCONT (exit(3)).
func kill(pid int) {
	if group, err := syscall.Getpgid(pid); err == nil && group > 1 && group != syscall.Getpgrp() {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// marked finds processes with the mark. `env -i` removes it, but leaves PATH, which begins with the
// machine's directory too.
func marked(mark string) []int {
	path := "PATH=" + strings.TrimPrefix(mark, markVariable)
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var found []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile("/proc/" + name + "/environ") // empty if the process is dead
		if err != nil {
			continue
		}
		for entry := range bytes.SplitSeq(environ, []byte{0}) {
			if bytes.HasPrefix(entry, []byte(mark)) || bytes.HasPrefix(entry, []byte(path)) {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// alive reports whether a process exists and is not a zombie; a zombie has closed
// its files (proc_pid_stat(5)).
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return len(rest) == 0 || rest[0] != 'Z' && rest[0] != 'X'
}
