//go:build unix

package remote

import (
	"io/fs"
	"os"
	"syscall"
)

// isOwn tells whether a file belongs to whoever runs this. Of other people's
// files ssh does not judge the mode (authfile.c, sshkey_perm_ok): root's, say,
// that a group may read on purpose.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Getuid()
}
