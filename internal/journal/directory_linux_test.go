package journal

import (
	"errors"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// withoutFsync runs f in a thread in which the kernel answers every fsync with EIO, as it does
// on a broken disk: the filter of seccomp(2) lasts as long as the thread.
func withoutFsync(t *testing.T, f func() error) error {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		var pin runtime.Pinner // the kernel reads it through a number
		pin.Pin(&program)
		defer pin.Unpin()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// A directory whose entry is not on disk may be gone after a power failure, with the journal
// in it: no run starts.
func TestDirectoryThatIsNotSynced(t *testing.T) {
	top := t.TempDir()
	for name, f := range map[string]func() error{
		"a directory": func() error { return syncDir(top) },
		"new ones":    func() error { return makeDir(filepath.Join(top, "a", "b")) },
	} {
		if err := withoutFsync(t, f); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A directory may take no new file, even from root.
func TestCheckOfADirectoryWithoutFiles(t *testing.T) {
	if err := Check("/proc/self"); err == nil {
		t.Error("a journal can be created in /proc")
	}
}
