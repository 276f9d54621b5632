//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// A signal while a pipe is read that does not end ends the program: nothing has started.
func TestSignalWhileReading(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	pipe := fmt.Sprintf("/dev/fd/%d", read.Fd())
	for _, args := range [][]string{
		{"certificate", "inspect", pipe},
		{"certificate", "pack", "--cert", pipe, "--key", pipe, "--out", filepath.Join(t.TempDir(), "out")},
		{"inventory", "validate", pipe},
		{"plan", "-i", pipe},
		{"rotate", "--yes", "-i", pipe},
	} {
		for sig, want := range map[os.Signal]int{os.Interrupt: problem.ExitInterrupted, syscall.SIGTERM: problem.ExitTerminated} {
			var out, errs bytes.Buffer
			p := &process{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}
			signals, ended := make(chan os.Signal), make(chan int)
			go func() { ended <- run(context.Background(), p, signals, args) }()
			signals <- sig
			select {
			case code := <-ended:
				if code != want {
					t.Errorf("%v at %v: exit code %d", sig, args, code)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%v does not end %v", sig, args)
			}
		}
	}
}

// A command that watches its context ends at the second signal, not at the first.
func TestSignalsThatAreHeeded(t *testing.T) {
	received, stopped := make(chan os.Signal), make(chan struct{}, 3)
	s := newSignals(func() { stopped <- struct{}{} })
	s.heed()
	defer close(received)
	go s.listen(received)
	received <- syscall.SIGTERM
	<-stopped
	if s.got() != syscall.SIGTERM || len(s.exit) > 0 {
		t.Errorf("first: %v, left %d", s.got(), len(s.exit))
	}
	received <- os.Interrupt
	if sig := <-s.exit; sig != syscall.SIGTERM {
		t.Errorf("left for %v", sig)
	}
	for _, first := range []os.Signal{syscall.SIGHUP, os.Interrupt} { // both the shell and the kernel report that the terminal is gone
		hangups, stopped := make(chan os.Signal), make(chan struct{}, 3)
		s = newSignals(func() { stopped <- struct{}{} })
		s.heed()
		go s.listen(hangups)
		for _, sig := range []os.Signal{first, syscall.SIGHUP, syscall.SIGHUP} {
			hangups <- sig
		}
		close(hangups)
		<-stopped
		if s.got() != first || len(s.exit) > 0 {
			t.Errorf("a terminal that goes away is the second signal after %v", first)
		}
	}
	s = newSignals(func() {})
	hard := make(chan struct{}, 1)
	s.onSecond(func() { hard <- struct{}{} })
	s.heed()
	again := make(chan os.Signal)
	defer close(again)
	go s.listen(again)
	again <- os.Interrupt
	again <- os.Interrupt
	<-hard
	if len(s.exit) > 0 {
		t.Error("left in spite of what the second signal does")
	}
}
