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

// swapper puts links, FIFOs, folders and other files in the place of a name, and
// what was there back again a moment later, so that work goes on.
type swapper struct {
	name, path, pattern, hide string
	links                     []string
	log                       io.Writer
	count                     int
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// run swaps when something happens in the folder, and now and then; it rests in
// between, for different times, so that work gets to different points.
func (s *swapper) run(over func() bool) error {
	if err := os.MkdirAll(s.hide, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(s.hide)
	if s.pattern != "" {
		return s.runPattern(over)
	}
	events, err := watch(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer events.Close()
	for turn := 0; !over(); turn++ {
		time.Sleep(time.Duration(turn*turn*37%11) * 20 * time.Millisecond)
		drain(events)
		await(events, 100*time.Millisecond)
		s.swap(s.path, pause(turn))
	}
	return nil
}

// runPattern swaps each file with such a name many times, beginning at once or
// later. Every fourth one is lost for good.
func (s *swapper) runPattern(over func() bool) error {
	events, err := watch(s.path)
	if err != nil {
		return err
	}
	defer events.Close()
	defer s.tidy()
	done := map[string]bool{}
	for !over() {
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
				s.swapForGood(path)
			}
		}
	}
	return nil
}

// tidy removes baits that were left under a name of the pattern.
func (s *swapper) tidy() {
	found, _ := filepath.Glob(filepath.Join(s.path, s.pattern))
	for _, path := range found {
		_ = os.RemoveAll(path)
	}
}

// watch returns a file that has something to read when a folder is used.
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

// await returns at the next event, or after some time.
func await(events *os.File, limit time.Duration) {
	var room [64 << 10]byte
	_ = events.SetReadDeadline(time.Now().Add(limit))
	_, _ = events.Read(room[:])
}

// drain forgets what has happened, among it the swaps themselves.
func drain(events *os.File) {
	var room [64 << 10]byte
	_ = events.SetReadDeadline(time.Now().Add(time.Microsecond))
	for {
		if _, err := events.Read(room[:]); err != nil {
			return
		}
	}
}

// swap exchanges what is at path for something else, for as long as hold says.
// It returns false where there is nothing to swap.
func (s *swapper) swap(path string, hold time.Duration) bool {
	away := filepath.Join(s.hide, "away")
	bait, ok := s.exchangeFor(away, path)
	if ok {
		time.Sleep(hold)
		s.back(away, path, bait)
	}
	return ok
}

func (s *swapper) swapForGood(path string) {
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

// back undoes the exchange, unless others have changed what is there.
func (s *swapper) back(away, path string, bait fs.FileInfo) {
	if err := exchange(away, path); err != nil {
		if s.pattern == "" { // the bait was moved or removed
			_ = unix.Renameat2(unix.AT_FDCWD, away, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		}
		return
	}
	if now, err := os.Lstat(away); s.pattern == "" && err == nil && !os.SameFile(now, bait) {
		_ = exchange(away, path) // the program's own file was there by then
	}
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// bait makes what goes in the place of a name: in turn a link to each of the
// places, a FIFO, a folder, and a file.
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

// replaceStaged waits for the login user's copy of a certificate to be whole and
// puts something else in its place, for good.
func replaceStaged(home, with, target string, log io.Writer, over func() bool) error {
	for done := map[string]bool{}; !over(); time.Sleep(time.Millisecond) {
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
