//go:build unix

package renew

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// isPrivate reports whether a folder belongs to the user of this process, and is closed to others.
func isPrivate(_ string, info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.Mode().Perm()&0o077 == 0
}

// lockFile locks a file until it is closed, also by the end of the process. It does not wait.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// syncFolder makes the names in a folder survive a power cut.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
