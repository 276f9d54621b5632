//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// disk is a folder that has its own file system in the simulation: after a power failure
// it has all of its unsynced changes, or none. A sync of one file writes everything,
// as that of a journal does (ext4, xfs).
type disk struct{ name, root, saved string }

// saveAll saves the state of each disk before the command.
func (t *tracer) saveAll() error {
	var errs []error
	for _, d := range t.disks {
		errs = append(errs, t.save(d))
	}
	return errors.Join(errs...)
}

// synced saves the state of the disks with these paths.
func (t *tracer) synced(paths []string) error {
	for _, d := range t.disks {
		if slices.ContainsFunc(paths, func(p string) bool { return p == d.name || strings.HasPrefix(p, d.name+"/") }) {
			if err := t.save(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// save saves a disk that the fault will lose.
func (t *tracer) save(d *disk) error {
	if t.fault != "power" || !slices.Contains(t.lost, d.name) {
		return nil
	}
	if d.saved != "" {
		if err := os.RemoveAll(d.saved); err != nil {
			return err
		}
	}
	var err error
	if d.saved, err = os.MkdirTemp("", "inject-disk"); err != nil {
		return err
	}
	return copyTree(d.root, d.saved)
}

// loseAll loses the unsynced changes.
func (t *tracer) loseAll() error {
	var errs []error
	for _, d := range t.disks {
		if d.saved == "" {
			continue
		}
		// The folder itself stays: it has the same inode after a boot.
		entries, err := os.ReadDir(d.root)
		errs = append(errs, err)
		for _, e := range entries {
			errs = append(errs, os.RemoveAll(filepath.Join(d.root, e.Name())))
		}
		errs = append(errs, copyTree(d.saved, d.root), os.RemoveAll(d.saved))
	}
	return errors.Join(errs...)
}

// copyTree keeps owners, modes, times and hard links.
func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", from+"/.", to+"/").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
