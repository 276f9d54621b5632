package remote

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestMain fails if a goroutine outlives the tests. If proxyTo is set, this program
// is the ProxyCommand of a test instead.
func TestMain(m *testing.M) {
	if to := os.Getenv(proxyTo); to != "" {
		os.Exit(relayToAddress(to))
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // else the race detector delays the end of each relay by a second
	goleak.VerifyTestMain(m)
}

// proxyTo is the environment variable that makes this program a relay to an address.
const proxyTo = "AOIFLEET_TEST_PROXY_TO"

func relayToAddress(address string) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

// testTimeout bounds what must not hang; no test waits until it has passed.
const testTimeout = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// wantError checks the class and the message, and that the message is sanitised.
func wantError(t *testing.T, err error, class problem.Class, contains string) *DialError {
	t.Helper()
	e := asDialError(err)
	if e == nil {
		t.Fatalf("error %v (%T), want one of class %s", err, err, class)
	}
	if e.Class != class || !strings.Contains(e.Message, contains) {
		t.Fatalf("error %s %q, want %s with %q", e.Class, e.Message, class, contains)
	}
	if e.Message != display.Sanitise(e.Message, len(e.Message)) {
		t.Errorf("message %q is not sanitised", e.Message)
	}
	if len(e.Message) > 2*MaxForeignText {
		t.Errorf("message of %d bytes", len(e.Message))
	}
	return e
}

func newDialer(t *testing.T, opt Options) *Dialer {
	t.Helper()
	d := NewDialer(opt)
	d.retryDelay = time.Millisecond
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func dial(t *testing.T, d *Dialer, target Target) *Conn {
	t.Helper()
	c, err := d.Dial(testContext(t), target)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
