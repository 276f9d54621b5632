//go:build unix

package localfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// exposed returns the mode of a file of this process's user with any bit of group or others.
// ssh does not check the mode of other users' files (sshkey_perm_ok in authfile.c), such as
// those of root that a group may read.
func exposed(_ string, info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if mode := info.Mode().Perm(); mode&0o077 != 0 && (!ok || int(stat.Uid) == os.Getuid()) {
		return fmt.Sprintf("mode %04o", mode)
	}
	return ""
}

func create(folder string) (*os.File, error) {
	return os.CreateTemp(folder, ".aoifleet-*") // with mode 0600
}

func open(path string) (*os.File, error) { return os.Open(path) }

func stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// inherited reports whether path names a file descriptor of this process (fd(4)).
func inherited(path string) bool {
	path = filepath.Clean(path)
	return path == "/dev/stdin" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/self/fd/")
}
