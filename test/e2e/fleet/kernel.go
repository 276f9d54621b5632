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

// inotifyFile limits the inotify instances of one user. Every systemd uses several,
// and the containers' root is the machine's root. The usual 128 is
// enough for about 20 hosts.
const (
	inotifyFile = "/proc/sys/fs/inotify/max_user_instances"
	inotifyWant = 8192
)

// checkMachine returns an error for conditions that would make a boot fail later.
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

// cgroupMount returns the mount point of the machine's cgroup2 hierarchy:
// /sys/fs/cgroup, or a folder next to the version 1 hierarchies.
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

// openCgroup creates a cgroup of a fleet, and opens it to start a process in it.
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

// borrowMachine registers a fleet and, if it is the first, records the settings that
// fleets change on the machine; reap.sh restores them after the last fleet.
// The lock on /run excludes the two from each other. /run is a directory, so no other
// program locks it, and it always exists.
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

// noteMissing records that a directory was missing that the tools create and leave.
func noteMissing(path, note string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(stateDir, note), nil, 0o600)
}

// raiseInotify raises the limit and saves the previous value. A value saved by an
// earlier fleet is not overwritten.
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
