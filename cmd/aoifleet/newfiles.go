package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"al.essio.dev/pkg/shellescape"
)

// newFile is a file to be written.
type newFile struct {
	path string
	data []byte
	mode os.FileMode
}

// shownPlaces is how many files that are in the way are named.
const shownPlaces = 5

// checkPlaces looks at every place before anything is made: with one that can't
// be, nothing is written.
func checkPlaces(items []*newItem, flags newFlags) error {
	var there []string
	seen := map[string]bool{}
	for _, i := range items {
		for _, f := range i.files(flags.csr) {
			if seen[f.path] {
				return usage("two files would have the name "+f.path, "give the hosts' certificates names of their own in the inventory")
			}
			seen[f.path] = true
			if problem := folderProblem(filepath.Dir(f.path)); problem != "" {
				return usage(f.path+": "+problem, "name another place")
			}
			info, err := os.Lstat(f.path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return usage(err.Error(), "name another place")
			case info.Mode()&fs.ModeSymlink != 0, !info.Mode().IsRegular():
				return usage(f.path+" is not a regular file", "name another place")
			default:
				there = append(there, f.path)
			}
		}
	}
	if len(there) > 0 && !flags.force {
		return inTheWay(there)
	}
	return nil
}

func inTheWay(there []string) error {
	message := there[0] + " exists already"
	if len(there) > 1 {
		message = fmt.Sprintf("%d files exist already:", len(there))
		for n, path := range there {
			if n == shownPlaces {
				message += fmt.Sprintf("\nand %d more", len(there)-n)
				break
			}
			message += "\n" + path
		}
	}
	return usage(message, "use --force to replace what is there; their private keys are then gone")
}

// folderProblem says why a folder is not there and can't be made, "" if it is or can.
func folderProblem(dir string) string {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			return ""
		case err == nil:
			return dir + " is not a folder"
		case !errors.Is(err, fs.ErrNotExist):
			return err.Error()
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "there is no folder " + shellescape.Quote(dir)
		}
		dir = up
	}
}

// writeAll writes files, all of them or none: each beside its place and on disk
// before the first is put there. Folders that are missing are the owner's only.
// Without force nothing is overwritten, not even what came there meanwhile.
func writeAll(files []newFile, force bool) (err error) {
	staged, placed := make([]string, 0, len(files)), 0
	defer func() {
		for _, path := range staged {
			_ = os.Remove(path) // what was renamed is gone
		}
		for i := 0; err != nil && !force && i < placed; i++ {
			_ = os.Remove(files[i].path)
		}
	}()
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return err
		}
		path, err := stageFile(f)
		if path != "" {
			staged = append(staged, path)
		}
		if err != nil {
			return err
		}
	}
	for placed < len(files) {
		if err := place(staged[placed], files[placed].path, force); err != nil {
			return err
		}
		placed++
	}
	return nil
}

// place puts a staged file where it belongs. A link, unlike a rename, never
// replaces a file (link(2)); where the file system has none, what is there is
// looked for just before.
func place(staged, path string, force bool) error {
	if !force {
		err := os.Link(staged, path)
		if err == nil {
			return nil
		}
		if _, there := os.Lstat(path); errors.Is(err, fs.ErrExist) || !errors.Is(there, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
	}
	return os.Rename(staged, path)
}

// stageFile writes a file under another name in its folder, which it returns also
// where that fails.
func stageFile(f newFile) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(f.path), ".aoifleet-*") // 0600 by itself
	if err != nil {
		return "", err
	}
	_, err = file.Write(f.data)
	if f.mode != 0o600 {
		err = errors.Join(err, file.Chmod(f.mode))
	}
	return file.Name(), errors.Join(err, file.Sync(), file.Close())
}
