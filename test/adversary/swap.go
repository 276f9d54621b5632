//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// swapper replaces a file by links, FIFOs, folders and other files, and restores it
// shortly afterwards, so that the program can continue.
type swapper struct {
	name, path, pattern, hide string
	links                     []string
	log                       io.Writer
	count                     int
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// run swaps when the folder is used, and at intervals; it pauses
// in between, for different times, so that the program reaches different points.
func (s *swapper) run(stopped func() bool) error {
	if err := os.MkdirAll(s.hide, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(s.hide)
	if s.pattern != "" {
		return s.runPattern(stopped)
	}
	events, err := watch(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer events.Close()
	for turn := 0; !stopped(); turn++ {
		time.Sleep(time.Duration(turn*turn*37%11) * 20 * time.Millisecond)
		drain(events)
		await(events, 100*time.Millisecond)
		s.swap(s.path, pause(turn))
	}
	return nil
}

// runPattern swaps each file that matches the pattern many times, beginning at once or
// later. It replaces every fourth one permanently.
func (s *swapper) runPattern(stopped func() bool) error {
	events, err := watch(s.path)
	if err != nil {
		return err
	}
	defer events.Close()
	defer s.removeBaits()
	done := map[string]bool{}
	for !stopped() {
		await(events, 20*time.Millisecond)
		found, _ := filepath.Glob(filepath.Join(s.path, s.pattern))
		for _, path := range found {
			if done[path] {
				continue
			}
			n := len(done)
			done[path] = true
			time.Sleep(time.Duration(n%5) * 5 * time.Millisecond)
			for i := 0; i < 4+n*13%40 && s.swap(path, min(pause(i), 3*time.Millisecond)); i++ {
				time.Sleep(min(pause(i+n), 3*time.Millisecond))
			}
			if n%4 == 3 {
				s.swapPermanently(path)
			}
		}
	}
	return nil
}

// removeBaits removes baits that were left under a name of the pattern.
func (s *swapper) removeBaits() {
	found, _ := filepath.Glob(filepath.Join(s.path, s.pattern))
	for _, path := range found {
		_ = os.RemoveAll(path)
	}
}

// watch returns a file that is readable when a folder is used.
func watch(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_ATTRIB|unix.IN_OPEN|unix.IN_MODIFY|unix.IN_CLOSE_WRITE); err != nil {
		events.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return events, nil
}

// await returns at the next event, or after limit.
func await(events *os.File, limit time.Duration) {
	var room [64 << 10]byte
	_ = events.SetReadDeadline(time.Now().Add(limit))
	_, _ = events.Read(room[:])
}

// drain discards past events, including those of the swaps themselves.
func drain(events *os.File) {
	var room [64 << 10]byte
	_ = events.SetReadDeadline(time.Now().Add(time.Microsecond))
	for {
		if _, err := events.Read(room[:]); err != nil {
			return
		}
	}
}

// swap replaces the file at path by a bait, for the time hold.
// It returns false if there is nothing to swap.
func (s *swapper) swap(path string, hold time.Duration) bool {
	away := filepath.Join(s.hide, "away")
	bait, ok := s.exchangeFor(away, path)
	if ok {
		time.Sleep(hold)
		s.undoExchange(away, path, bait)
	}
	return ok
}

func (s *swapper) swapPermanently(path string) {
	_, _ = s.exchangeFor(filepath.Join(s.hide, "away"), path)
}

func (s *swapper) exchangeFor(away, path string) (bait fs.FileInfo, ok bool) {
	_ = os.RemoveAll(away)
	kind, err := s.bait(away, s.count)
	if err != nil {
		return nil, false
	}
	bait, _ = os.Lstat(away)
	if exchange(away, path) != nil {
		return nil, false
	}
	s.count++
	fmt.Fprintf(s.log, "%s %s %d\n", s.name, kind, s.count)
	return bait, true
}

// undoExchange undoes the exchange, unless the file at path has changed.
func (s *swapper) undoExchange(away, path string, bait fs.FileInfo) {
	if err := exchange(away, path); err != nil {
		if s.pattern == "" { // the bait was moved or removed
			_ = unix.Renameat2(unix.AT_FDCWD, away, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		}
		return
	}
	if now, err := os.Lstat(away); s.pattern == "" && err == nil && !os.SameFile(now, bait) {
		_ = exchange(away, path) // the program has written its own file in the meantime
	}
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// bait creates the replacement of a file: in turn a link to each of the
// targets, a FIFO, a folder, and a file. It returns its kind.
func (s *swapper) bait(path string, turn int) (string, error) {
	n := turn % (len(s.links) + 3)
	switch n - len(s.links) {
	case 0:
		return "fifo", unix.Mkfifo(path, 0o666)
	case 1:
		return "folder", os.Mkdir(path, 0o755)
	case 2:
		return "file", os.WriteFile(path, []byte("garbage"), 0o644)
	}
	return "link:" + s.links[n], os.Symlink(s.links[n], path)
}

// replaceStaged waits until the login user's copy of a certificate is complete and
// replaces it permanently.
func replaceStaged(home, with, target string, log io.Writer, stopped func() bool) error {
	for done := map[string]bool{}; !stopped(); time.Sleep(time.Millisecond) {
		found, _ := filepath.Glob(filepath.Join(home, ".aoifleet-*", "certificate"))
		for _, path := range found {
			info, err := os.Lstat(path)
			if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || done[path] {
				continue
			}
			bait := path + ".bait"
			if with == "fifo" {
				err = unix.Mkfifo(bait, 0o666)
			} else {
				err = os.Symlink(target, bait)
			}
			if errors.Join(err, os.Rename(bait, path)) == nil {
				done[path] = true
				fmt.Fprintf(log, "stage %s %d\n", with, len(done))
			}
		}
	}
	return nil
}
