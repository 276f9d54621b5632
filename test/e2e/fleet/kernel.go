//go:build linux

package fleet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// inotifyFile limits the inotify instances of one user; every systemd uses a
// handful, and the containers' root is the machine's root. The usual 128 is
// enough for about 20 hosts.
const (
	inotifyFile = "/proc/sys/fs/inotify/max_user_instances"
	inotifyWant = 8192
)

// checkMachine says at once what would make a boot fail later.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return &Problem{Message: "real hosts need root"}
	}
	for _, tool := range []string{"debootstrap", "systemd-nspawn", "ip", "flock", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			return &Problem{Message: tool + " is not installed", Hint: "run test/e2e/setup.sh"}
		}
	}
	_, err := cgroupMount()
	return err
}

// cgroupMount returns where the machine has its cgroup2 hierarchy: at
// /sys/fs/cgroup, or beside the version 1 hierarchies.
func cgroupMount() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", &Problem{Message: "no cgroup2 hierarchy is mounted", Hint: "mount -t cgroup2 none /sys/fs/cgroup/unified"}
}

// openCgroup makes a cgroup of a fleet, and opens it for a process to start in.
func openCgroup(fleet, name string) (*os.File, error) {
	mount, err := cgroupMount()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(mount, fleet, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// borrowMachine registers a fleet and notes, if it is the first, how it found
// what fleets change on the machine; reap.sh puts that back after the last one.
// The lock on /run keeps the two apart. It is a directory, so nobody else locks
// it, and it never goes away.
func borrowMachine(register func() error) error {
	lock, err := takeLock("/run")
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return err
	}
	if err := register(); err != nil {
		return err
	}
	return errors.Join(
		noteMissing("/run/netns", "no-netns"),
		noteMissing("/run/systemd/nspawn", "no-nspawn"),
		raiseInotify(),
	)
}

// noteMissing remembers that a directory, which the tools make and leave, was
// not there.
func noteMissing(path, note string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(stateDir, note), nil, 0o600)
}

// raiseInotify raises the limit and keeps the value that it had. A saved value
// is the first fleet's and is not overwritten.
func raiseInotify() error {
	text, err := os.ReadFile(inotifyFile)
	if err != nil {
		return err
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s: %w", inotifyFile, err)
	}
	if value >= inotifyWant {
		return nil
	}
	saved := filepath.Join(stateDir, "inotify")
	if _, err := os.Stat(saved); err != nil {
		if err := os.WriteFile(saved, text, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(inotifyFile, []byte(strconv.Itoa(inotifyWant)), 0o644)
}
