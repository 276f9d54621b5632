//go:build !unix

package localfile

import "io/fs"

// isOwn returns true: these systems have no Unix owners and modes.
func isOwn(fs.FileInfo) bool { return true }
