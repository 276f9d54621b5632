package localfile

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Only a regular file, or a pipe or device that this process has inherited, is opened.
func TestReadKinds(t *testing.T) {
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	held, err := os.OpenFile(fifo, os.O_RDWR, 0) // a read of a FIFO without a writer would wait
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.WriteString("1234"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "is a directory", fifo: "is a FIFO", socket: "is a socket", "/dev/zero": "is a device", "/dev/null": "is a device", dir + "/../" + filepath.Base(dir) + "/fifo": "is a FIFO",
	} {
		if got, err := Read(path, 4); !errors.Is(err, ErrKind) || !strings.HasPrefix(Reason(err), want) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	_ = held.Close()
	for _, form := range []string{"/dev/fd/%d", "/dev//fd/%d", "/proc/self/fd/%d"} {
		for most, want := range map[int64]string{4: "1234", 9: "12345"} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.WriteString("12345"); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			if got, err := Read(fmt.Sprintf(form, r.Fd()), most); err != nil || string(got) != want {
				t.Errorf(form+", %d: %q, %v", r.Fd(), most, got, err)
			}
			_ = r.Close()
		}
	}
	terminal, err := os.Open("/dev/zero") // a device as a terminal is, with input
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if got, err := Read(fmt.Sprintf("/dev/fd/%d", terminal.Fd()), 4); err != nil || len(got) != 4 {
		t.Errorf("an inherited device: %q, %v", got, err)
	}
}
