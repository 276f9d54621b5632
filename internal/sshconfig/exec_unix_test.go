//go:build unix

package sshconfig

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A command that ssh starts has no terminal and ends with ssh.
func TestMatchExecEndsWithSSH(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := exec.Command("mkfifo", fifo).Run(); err != nil {
		t.Fatal(err)
	}
	alive, err := os.OpenFile(fifo, os.O_RDWR, 0) // opening it read-only waits for a writer
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	config := write(t, filepath.Join(dir, "config"), "Match exec \"echo $$ > "+fifo+"; exec sleep 1000\"\n Port 7\n")
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	r := New(Options{Program: sshProgram(t), Home: dir, Timeout: time.Minute})
	go func() { _, err := r.Resolve(ctx, Query{Host: "a", File: config}); ended <- err }()
	line, err := bufio.NewReader(alive).ReadString('\n')
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	session, sessionErr := unix.Getsid(pid)
	own, _ := unix.Getsid(0)
	cancel()
	if end := <-ended; err != nil || !errors.Is(end, context.Canceled) {
		t.Fatal(err, end)
	}
	if pid == 0 || sessionErr != nil || session == own {
		t.Errorf("the command printed %q; its session is %d, %v; that of this program %d", line, session, sessionErr, own)
	}
	wait := testContext(t)
	for runs(pid) {
		if wait.Err() != nil {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// runs reports whether a process runs. One that has ended may be a zombie for a moment.
func runs(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
