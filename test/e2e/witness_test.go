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

// witness looks at the agent's file all the time: it must be whole and of the
// agent's owner and mode at every moment. inotify(7) sees each moment at which
// it was away, and each write into it; reading it again and again sees the rest.
type witness struct {
	path  string
	legal map[string]bool // bytes that the file may have

	events int
	stop   chan struct{}
	done   sync.WaitGroup

	mu     sync.Mutex
	crimes []string
	looks  int
}

func newWitness(path string, legal ...[]byte) (*witness, error) {
	w := &witness{path: path, legal: map[string]bool{}, stop: make(chan struct{})}
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

func (w *witness) run() {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		w.listen()
		w.look()
		select {
		case <-tick.C:
		case <-w.stop:
			w.listen()
			return
		}
	}
}

// listen reads what inotify has to say about the file's name.
func (w *witness) listen() {
	buffer := make([]byte, 64<<10)
	n, err := unix.Read(w.events, buffer)
	if err != nil {
		return // EAGAIN: nothing
	}
	for at := 0; at+unix.SizeofInotifyEvent <= n; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&buffer[at]))
		name := buffer[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+int(event.Len)]
		at += unix.SizeofInotifyEvent + int(event.Len)
		switch {
		case event.Mask&unix.IN_Q_OVERFLOW != 0:
			w.accuse("inotify has lost events")
		case unix.ByteSliceToString(name) == filepath.Base(w.path) && event.Mask&unix.IN_MOVED_TO == 0:
			w.accuse(fmt.Sprintf("the file was not replaced by a rename: event %#x", event.Mask))
		}
	}
}

// look reads the file once, with owner and mode of the very file that is read.
func (w *witness) look() {
	file, err := os.Open(w.path)
	if err != nil {
		w.accuse(err.Error())
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		w.accuse(err.Error())
		return
	}
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid != agentUser || owner.Gid != agentUser || info.Mode() != 0o600 {
		w.accuse(fmt.Sprintf("owner %d:%d, mode %v", owner.Uid, owner.Gid, info.Mode()))
	}
	data := make([]byte, info.Size()+1)
	n, _ := file.Read(data)
	if !w.legal[string(data[:n])] {
		w.accuse(fmt.Sprintf("%d bytes that are of neither certificate", n))
	}
	w.mu.Lock()
	w.looks++
	w.mu.Unlock()
}

func (w *witness) accuse(crime string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.crimes) < 10 {
		w.crimes = append(w.crimes, crime)
	}
}

// dismiss ends the watch and returns what was wrong, and how often it looked.
func (w *witness) dismiss() (crimes []string, looks int) {
	close(w.stop)
	w.done.Wait()
	_ = unix.Close(w.events)
	return w.crimes, w.looks
}
