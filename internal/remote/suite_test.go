package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// server is a server for the suite: the target, and the directory in which its SFTP
// sessions start.
type server struct {
	target Target
	home   string
}

// TestServers runs one suite against the fake server and against a real sshd.
func TestServers(t *testing.T) {
	kinds := []struct {
		name  string
		start func(t *testing.T) server
	}{
		{"fake", func(t *testing.T) server {
			s := newFakeServer(t).start()
			return server{s.target, s.home}
		}},
		{"openssh", func(t *testing.T) server {
			s := startSSHD(t, sshdSettings{})
			return server{s.target, s.home}
		}},
	}
	tests := []struct {
		name string
		run  func(t *testing.T, c *Conn, home string)
	}{
		{"run", testRun},
		{"run ends with its context", testRunContext},
		{"large streams", testLargeStreams},
		{"too much output", testTooMuchOutput},
		{"conversation", testConversation},
		{"cancelling ends the remote input", testCancel},
		{"put and remove", testPut},
		{"put into an existing directory", testPutExists},
		{"put without permission", testPutDenied},
		{"put large", testPutLarge},
		{"use after close", testAfterClose},
		{"many at once", testConcurrent},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := kind.start(t)
			d := newDialer(t, Options{})
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) { test.run(t, dial(t, d, s.target), s.home) })
			}
		})
	}
}

func testRun(t *testing.T, c *Conn, _ string) {
	if !strings.HasPrefix(c.HostKeyFingerprint(), "SHA256:") {
		t.Errorf("fingerprint %q", c.HostKeyFingerprint())
	}
	cases := []struct {
		name, command, stdin, stdout, stderr string
		status                               int
	}{
		{"output", "printf out", "", "out", "", 0},
		{"input", "cat", "hello", "hello", "", 0},
		{"input not read", "exit 0", strings.Repeat("x", 1<<20), "", "", 0},
		{"status and both streams", "printf out; printf 'a\\nwhy\\n' >&2; exit 3", "", "out", "a\nwhy\n", 3},
		{"hostile stderr", `printf '\033]0;t\007\033[31mred\033[0m\n' >&2; exit 1`, "", "", "red\n", 1},
		{"long stderr", "head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1", "", "",
			strings.Repeat("x", MaxForeignText-4) + "end\n", 1},
	}
	for _, tc := range cases {
		out, err := c.Run(testContext(t), tc.command, []byte(tc.stdin))
		if string(out) != tc.stdout {
			t.Errorf("%s: stdout %q, want %q", tc.name, out, tc.stdout)
		}
		if tc.status == 0 {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		wantError(t, err, problem.Command, fmt.Sprintf("exit status %d", tc.status))
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Status != tc.status || exit.Stderr != tc.stderr {
			t.Errorf("%s: %#v", tc.name, exit)
		}
	}
}

func testRunContext(t *testing.T, c *Conn, _ string) {
	ctx, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	_, err := c.Run(ctx, "cat", nil) // ends at the end of its input
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cat: %v", err)
	}
	p, err := c.Start(ctx, "cat")
	if err == nil {
		err = p.Wait()
	}
	wantError(t, err, problem.Timeout, "timed out")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not unwrap to the deadline", err)
	}
	if out, err := c.Run(testContext(t), "printf still", nil); err != nil || string(out) != "still" {
		t.Errorf("after a timeout: %q, %v", out, err)
	}
	cancelled, stop := context.WithCancel(context.Background())
	stop()
	_, err = c.Run(cancelled, "true", nil)
	wantError(t, err, problem.Interrupted, "interrupted")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not unwrap to the cancellation", err)
	}
}

func testLargeStreams(t *testing.T, c *Conn, _ string) {
	data := bytes.Repeat([]byte("0123456789abcdef"), DefaultMaxOutput/16)
	out, err := c.Run(testContext(t), "cat", data)
	if err != nil || !bytes.Equal(out, data) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func testTooMuchOutput(t *testing.T, c *Conn, _ string) {
	_, err := c.Run(testContext(t), "yes", nil)
	wantError(t, err, problem.Command, "more than 1048576 bytes")
	_, err = c.Run(testContext(t), "true", nil)
	wantError(t, err, problem.Unreachable, "too much output")
}

func testConversation(t *testing.T, c *Conn, _ string) {
	p, err := c.Start(testContext(t), "while read line; do echo \"got $line\"; done; echo bye >&2; exit 4")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	answers := bufio.NewReader(p.Stdout())
	for _, word := range []string{"one", "two"} {
		if _, err := io.WriteString(p.Stdin(), word+"\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := answers.ReadString('\n'); err != nil || line != "got "+word+"\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if err := p.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	err = p.Wait()
	wantError(t, err, problem.Command, "exit status 4: bye")
	if again := p.Wait(); again != err {
		t.Errorf("second Wait: %v", again)
	}
}

// testCancel checks that cancelling ends the command's input; the remote shell
// reports that through a FIFO.
func testCancel(t *testing.T, c *Conn, _ string) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if _, err := c.Run(testContext(t), "mkfifo "+fifo, nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0) // opening it read-only would wait for a writer
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(testContext(t))
	p, err := c.Start(ctx, "cat >/dev/null; echo ended >"+fifo)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	wantError(t, p.Wait(), problem.Interrupted, "interrupted")
	if err := f.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(f).ReadString('\n'); err != nil || line != "ended\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func testPut(t *testing.T, c *Conn, home string) {
	c.Prefetch()
	ctx := testContext(t)
	for _, data := range [][]byte{nil, []byte("secret"), bytes.Repeat([]byte{7}, 4096)} {
		if err := c.Put(ctx, ".stage", "bundle", data); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(home, ".stage")
		wantMode(t, dir, os.ModeDir|0o700)
		wantMode(t, filepath.Join(dir, "bundle"), 0o600)
		if got, err := os.ReadFile(filepath.Join(dir, "bundle")); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		for range 2 { // missing is no error
			if err := c.Remove(ctx, ".stage", "bundle"); err != nil {
				t.Fatal(err)
			}
		}
		wantMissing(t, dir)
	}
	wantError(t, c.Put(ctx, ".stage", "a/b", nil), problem.Internal, "slash")
	wantError(t, c.Put(ctx, "a/../b", "x", nil), problem.Internal, "not a usable")
	wantError(t, c.Remove(ctx, ".", "x"), problem.Internal, "not a usable")
}

func testPutExists(t *testing.T, c *Conn, home string) {
	dir := filepath.Join(home, "mine")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	kept := writeFile(t, filepath.Join(dir, "bundle"), []byte("old"))
	wantError(t, c.Put(testContext(t), "mine", "bundle", []byte("new")), problem.Command, "already exists")
	wantMode(t, dir, os.ModeDir|0o755)
	if got, err := os.ReadFile(kept); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	wantError(t, c.Remove(testContext(t), "mine", "other"), problem.Command, "cannot remove the directory")
}

func testPutDenied(t *testing.T, c *Conn, _ string) {
	err := c.Put(testContext(t), "missing/parent", "bundle", nil)
	wantError(t, err, problem.Command, "no such file or directory")
}

func testPutLarge(t *testing.T, c *Conn, home string) {
	data := bytes.Repeat([]byte("0123456789abcde\n"), 100_000)
	if err := c.Put(testContext(t), "large", "bundle", data); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(home, "large", "bundle")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := c.Remove(testContext(t), "large", "bundle"); err != nil {
		t.Error(err)
	}
}

func testAfterClose(t *testing.T, c *Conn, _ string) {
	ctx := testContext(t)
	if err := c.OpenSFTP(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := c.Start(ctx, "cat")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, p.Wait(), problem.Unreachable, "connection lost: closed")
	_, err = c.Run(ctx, "true", nil)
	wantError(t, err, problem.Unreachable, "connection lost")
	wantError(t, c.Put(ctx, "d", "f", nil), problem.Unreachable, "connection lost")
}

func testConcurrent(t *testing.T, c *Conn, home string) {
	ctx := testContext(t)
	results := make(chan error, 8)
	for i := range 4 {
		go func() {
			out, err := c.Run(ctx, fmt.Sprintf("printf %d", i), nil)
			if err == nil && string(out) != fmt.Sprint(i) {
				err = fmt.Errorf("run %d printed %q", i, out)
			}
			results <- err
		}()
		go func() {
			dir := fmt.Sprintf("dir%d", i)
			err := c.Put(ctx, dir, "f", []byte(dir))
			if err == nil {
				err = c.Remove(ctx, dir, "f")
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(home)
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
	} else if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

func wantMissing(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s exists: %v", path, err)
	}
}
