// Package certfile makes keys, certificates and requests as files: the agent's base64
// P12 and its public part, or a key and the request of an authority. The files of one
// call are written all or none, and replace no file without force.
package certfile

import (
	"os"
	"path/filepath"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// File is a file to be written.
type File struct {
	Path string
	Data []byte
	Mode os.FileMode
}

// Write writes files, all of them or none: each beside its place and on disk before
// the first is put there. Missing folders are made for the owner alone. Without force
// nothing is overwritten, not even a file that appears meanwhile; then the error is
// fs.ErrExist.
func Write(files []File, force bool) (err error) {
	staged, placed := make([]string, 0, len(files)), 0
	defer func() {
		for _, path := range staged {
			_ = os.Remove(path) // what was renamed is gone
		}
		for i := 0; err != nil && !force && i < placed; i++ {
			_ = os.Remove(files[i].Path)
		}
	}()
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			return err
		}
		path, err := localfile.Stage(filepath.Dir(f.Path), f.Data, f.Mode)
		if path != "" {
			staged = append(staged, path)
		}
		if err != nil {
			return err
		}
	}
	for placed < len(files) {
		put := localfile.Place
		if force {
			put = os.Rename
		}
		if err := put(staged[placed], files[placed].Path); err != nil {
			return err
		}
		placed++
	}
	return nil
}
