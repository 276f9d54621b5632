//go:build unix

package localfile

import (
	"io/fs"
	"os"
	"syscall"
)

// isOwn returns whether a file belongs to the user of this process. ssh does not
// check the mode of other users' files (sshkey_perm_ok in authfile.c), such as
// those of root that a group may read.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Getuid()
}
