//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// agentUser is the agent's user and group on a host (fleet/rootfs.sh).
const agentUser = 980

// fileMonitor checks the agent's file continuously: it must always be complete, with
// the agent's owner and mode. inotify(7) reports each removal and each write;
// repeated reads find the rest.
type fileMonitor struct {
	path  string
	legal map[string]bool // the allowed contents

	events int
	stop   chan struct{}
	done   sync.WaitGroup

	mu         sync.Mutex
	violations []string
	checks     int
}

func newFileMonitor(path string, legal ...[]byte) (*fileMonitor, error) {
	w := &fileMonitor{path: path, legal: map[string]bool{}, stop: make(chan struct{})}
	for _, bytes := range legal {
		w.legal[string(bytes)] = true
	}
	var err error
	if w.events, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return nil, err
	}
	const mask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY
	if _, err := unix.InotifyAddWatch(w.events, filepath.Dir(path), mask); err != nil {
		_ = unix.Close(w.events)
		return nil, err
	}
	w.done.Go(w.run)
	return w, nil
}

func (w *fileMonitor) run() {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		w.readEvents()
		w.check()
		select {
		case <-tick.C:
		case <-w.stop:
			w.readEvents()
			return
		}
	}
}

// readEvents reads the inotify events of the file's name.
func (w *fileMonitor) readEvents() {
	buffer := make([]byte, 64<<10)
	n, err := unix.Read(w.events, buffer)
	if err != nil {
		return // EAGAIN: no event
	}
	for at := 0; at+unix.SizeofInotifyEvent <= n; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&buffer[at]))
		name := buffer[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+int(event.Len)]
		at += unix.SizeofInotifyEvent + int(event.Len)
		switch {
		case event.Mask&unix.IN_Q_OVERFLOW != 0:
			w.addViolation("inotify has lost events")
		case unix.ByteSliceToString(name) == filepath.Base(w.path) && event.Mask&unix.IN_MOVED_TO == 0:
			w.addViolation(fmt.Sprintf("the file was not replaced by a rename: event %#x", event.Mask))
		}
	}
}

// check reads the file once, with owner and mode of the open file.
func (w *fileMonitor) check() {
	file, err := os.Open(w.path)
	if err != nil {
		w.addViolation(err.Error())
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		w.addViolation(err.Error())
		return
	}
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid != agentUser || owner.Gid != agentUser || info.Mode() != 0o600 {
		w.addViolation(fmt.Sprintf("owner %d:%d, mode %v", owner.Uid, owner.Gid, info.Mode()))
	}
	data := make([]byte, info.Size()+1)
	n, _ := file.Read(data)
	if !w.legal[string(data[:n])] {
		w.addViolation(fmt.Sprintf("%d bytes that are of neither certificate", n))
	}
	w.mu.Lock()
	w.checks++
	w.mu.Unlock()
}

func (w *fileMonitor) addViolation(violation string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.violations) < 10 {
		w.violations = append(w.violations, violation)
	}
}

// close ends the monitor and returns the violations and the number of checks.
func (w *fileMonitor) close() (violations []string, checks int) {
	close(w.stop)
	w.done.Wait()
	_ = unix.Close(w.events)
	return w.violations, w.checks
}
