package renew

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// isPrivate reports whether only the user, the system and the administrators have rights to a folder.
func isPrivate(path string, _ fs.FileInfo) bool {
	others, err := localfile.Others(path)
	return err == nil && len(others) == 0
}

// lockFile locks a file until it is closed, also by the end of the process. It does not wait.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
}

// syncFolder does nothing: folders can't be synced there.
func syncFolder(string) error { return nil }
