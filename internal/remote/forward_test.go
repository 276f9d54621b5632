package remote

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// listening starts a TCP echo server on loopback.
func listening(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l
}

// TestDialThrough checks that a real sshd makes the connection and resolves the
// name.
func TestDialThrough(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	c := dial(t, newDialer(t, Options{}), s.target)
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "answer to "+r.Host) }))
	t.Cleanup(web.Close)
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	transport := web.Client().Transport.(*http.Transport).Clone()
	transport.DialContext, transport.TLSClientConfig.ServerName = c.DialContext, "example.com"
	t.Cleanup(transport.CloseIdleConnections)
	for range 3 {
		answer, err := (&http.Client{Transport: transport}).Get("https://localhost:" + port)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || string(text) != "answer to localhost:"+port {
			t.Errorf("%q, %v", text, err)
		}
	}
	mustRun(t, c)
}

func TestDialThroughHasDeadlines(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	c := dial(t, newDialer(t, Options{}), s.target)
	l := listening(t)
	conn, err := c.DialContext(testContext(t), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if err := c.Close(); err != nil { // waits for all connections through it
		t.Error(err)
	}
	if _, err := conn.Write([]byte("x")); err == nil {
		t.Error("the forwarded connection still works after Close")
	}
	_, err = c.DialContext(testContext(t), "tcp", l.Addr().String())
	wantError(t, err, problem.Unreachable, "connection lost: closed")
}

func TestDialThroughRefused(t *testing.T) {
	unused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := unused.Addr().String()
	_ = unused.Close()
	s := startSSHD(t, sshdSettings{})
	c := dial(t, newDialer(t, Options{}), s.target)
	_, err = c.DialContext(testContext(t), "tcp", closed)
	wantError(t, err, problem.Unreachable, "cannot connect to "+closed+": Connection refused")
	_, err = c.DialContext(testContext(t), "tcp", "127.0.0.1:port")
	wantError(t, err, problem.Unreachable, "port")
	_, err = c.DialContext(testContext(t), "unix", "/run/x")
	wantError(t, err, problem.Internal, "only TCP")
	mustRun(t, c)

	s = startSSHD(t, sshdSettings{extra: []string{"AllowTcpForwarding no"}})
	c = dial(t, newDialer(t, Options{}), s.target)
	_, err = c.DialContext(testContext(t), "tcp", closed)
	if e := wantError(t, err, problem.Command, "refuses to forward"); !strings.Contains(e.Hint, "AllowTcpForwarding") {
		t.Errorf("hint %q", e.Hint)
	}
	mustRun(t, c)
}
