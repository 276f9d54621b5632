// Package newcert generates keys, certificates and certificate requests and writes them
// to files: the agent's base64 P12 and its public part, or a key and a request for an
// authority. The files of one call are written all or none, and replace no file without
// force. Package certsource reads existing certificates.
package newcert

import (
	"os"
	"path/filepath"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// File is a file to write.
type File struct {
	Path string
	Data []byte
	Mode os.FileMode
}

// Write writes all files or none: each is complete and on disk under a temporary name
// before the first is renamed. Missing folders are created with mode 0700. Without force
// no file is replaced, also not one that appears meanwhile: the error is fs.ErrExist.
func Write(files []File, force bool) (err error) {
	staged, placed := make([]string, 0, len(files)), 0
	defer func() {
		for _, path := range staged {
			_ = os.Remove(path) // fails for those already renamed
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
