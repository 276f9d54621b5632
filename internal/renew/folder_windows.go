package renew

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// isPrivate returns true: the access list of a folder in the user's profile is the user's.
func isPrivate(fs.FileInfo) bool { return true }

// lockFile locks a file until it is closed, also by the end of the process. It does not wait.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
}

// syncFolder does nothing: folders can't be synced there.
func syncFolder(string) error { return nil }
