package newcert

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// shownPlaces is the number of existing files that an error lists.
const shownPlaces = 5

const anotherOut = "name another file with --out"

func usage(message, hint string) error {
	return &problem.Error{Class: problem.Usage, Message: message, Hint: hint}
}

// CheckOut returns a problem of class usage if the agent's file can't or must not be
// written to path. Its folder must exist, path must not be one of the files in read, and
// must not exist unless force is set.
func CheckOut(path string, force bool, read ...string) error {
	if path == "-" {
		return usage("a private key is not written to standard output", "name a file with --out")
	}
	folder := filepath.Dir(path)
	if !localfile.IsFolder(folder) {
		return usage(path+": no such folder", display.MakeFolder(folder))
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return usage(err.Error(), anotherOut)
	case info.IsDir():
		return usage(path+" is a folder", "name a file in it: --out "+display.Arg(filepath.Join(path, "new.p12.b64")))
	case !info.Mode().IsRegular():
		return usage(path+" is not a regular file", anotherOut)
	}
	for _, source := range read {
		if from, err := os.Stat(source); err == nil && os.SameFile(from, info) {
			return usage("--out would overwrite "+source+", which is to be packed", anotherOut)
		}
	}
	if !force {
		return usage(path+" already exists", "use --force to replace it")
	}
	return nil
}

// checkPlaces returns a problem of class usage if a file can't be written, or exists and
// must not be replaced. It checks every path and writes nothing.
func checkPlaces(files []File, force bool) error {
	const elsewhere = "name another file"
	var existing []string
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f.Path] {
			return usage("two files would have the name "+f.Path, "give each host's certificate its own name in the inventory")
		}
		seen[f.Path] = true
		if reason := folderProblem(filepath.Dir(f.Path)); reason != "" {
			return usage(f.Path+": "+reason, elsewhere)
		}
		info, err := os.Lstat(f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return usage(err.Error(), elsewhere)
		case !info.Mode().IsRegular(): // also a symlink
			return usage(f.Path+" is not a regular file", elsewhere)
		default:
			existing = append(existing, f.Path)
		}
	}
	if len(existing) > 0 && !force {
		return usage(existMessage(existing), "use --force to replace them; their private keys are then lost")
	}
	return nil
}

func existMessage(paths []string) string {
	if len(paths) == 1 {
		return paths[0] + " already exists"
	}
	message := fmt.Sprintf("%d files already exist:", len(paths))
	for n, path := range paths {
		if n == shownPlaces {
			return message + fmt.Sprintf("\nand %d more", len(paths)-n)
		}
		message += "\n" + path
	}
	return message
}

// folderProblem returns why a folder does not exist and can't be created, "" if it
// exists or can be created.
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
			return "there is no folder " + display.Arg(dir)
		}
		dir = up
	}
}
