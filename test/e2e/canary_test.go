//go:build e2e && linux

package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// mayChange reports whether a path below root's folders may change: those of the
// tool, the agent, the tests and systemd.
func (s *attackedHost) mayChange(path string) bool {
	if strings.Contains(path, "/aoifleet-guard-") {
		return true
	}
	return slices.Contains([]string{"/etc/az-aoi-ingestion", "/etc/aoi-standin", "/etc/.pwd.lock", "/etc/resolv.conf",
		"/var/lib/aoifleet", "/var/lib/az-aoi-ingestion", "/var/lib/systemd", adversaryDir, adversaryOver}, path)
}

// rootFiles returns root's files: owner, mode, and the digest or the link's target.
func (s *attackedHost) rootFiles() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(s.h.Root)
	if err != nil {
		s.t.Error(err)
	}
	for _, entry := range entries {
		found["/"+entry.Name()] = entry.Type().String()
	}
	for _, top := range []string{"/etc", "/root", "/usr/local", "/usr/sbin", "/var/lib", "/opt", "/boot"} {
		err := filepath.WalkDir(filepath.Join(s.h.Root, top), func(name string, entry fs.DirEntry, err error) error {
			path := strings.TrimPrefix(name, s.h.Root)
			if err != nil {
				return err
			}
			if s.mayChange(path) {
				if entry.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			found[path], err = fileFacts(name)
			return err
		})
		if err != nil {
			s.t.Error(err)
		}
	}
	return found
}

func fileFacts(name string) (string, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return "", err
	}
	stat := info.Sys().(*syscall.Stat_t)
	text := fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(name)
		return text + " -> " + target, err
	case info.Mode().IsRegular():
		data, err := os.ReadFile(name)
		return fmt.Sprintf("%s %x", text, sha256.Sum256(data)), err
	}
	return text, nil
}

// stateFolderProblems returns the problems in the tool's folder, which may contain
// only files, in folders of root, without text of the canaries.
func (s *attackedHost) stateFolderProblems() (wrong []string) {
	_ = filepath.WalkDir(filepath.Join(s.h.Root, "/var/lib/aoifleet"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // it was just removed, or is missing
		}
		path := strings.TrimPrefix(name, s.h.Root)
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		if entry.IsDir() {
			if info.Sys().(*syscall.Stat_t).Uid != 0 {
				wrong = append(wrong, path+" is not root's")
			}
			return nil
		}
		if !info.Mode().IsRegular() {
			wrong = append(wrong, path+" is "+info.Mode().String())
			return nil
		}
		data, _ := os.ReadFile(name)
		for _, c := range s.canaries {
			if c.in(string(data)) {
				wrong = append(wrong, path+" holds what is in root's "+c.path)
			}
		}
		return nil
	})
	return wrong
}

// differences returns the changes, at most ten.
func differences(before, after map[string]string) []string {
	var found []string
	for path, was := range before {
		if now, ok := after[path]; !ok {
			found = append(found, path+" is gone")
		} else if now != was {
			found = append(found, path+" was "+was+", and is "+now)
		}
	}
	for path, now := range after {
		if _, ok := before[path]; !ok {
			found = append(found, path+" is new: "+now)
		}
	}
	slices.Sort(found)
	return found[:min(len(found), 10)]
}

// secrets returns the texts of a canary that must not be disclosed.
func (c canary) secrets() []string { return canaryWord.FindAllString(c.text, -1) }

var canaryWord = regexp.MustCompile(`canary[0-9]-[0-9A-F]{40}`)

// in reports whether a text contains a secret of the canary.
func (c canary) in(text string) bool {
	return slices.ContainsFunc(c.secrets(), func(secret string) bool { return strings.Contains(text, secret) })
}

// leaked returns the place of a canary's secret on this machine; empty: none.
func leaked(c canary, printed, dir string) string {
	if c.in(printed) {
		return "in its output"
	}
	where := ""
	_ = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if data, err := os.ReadFile(name); err == nil && c.in(string(data)) {
			where = name
		}
		return nil
	})
	return where
}
