package remote

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestServerKeys sees the same keys of a real sshd, through another, as ssh-keyscan does.
func TestServerKeys(t *testing.T) {
	through, server := startSSHD(t, sshdSettings{}), startSSHD(t, sshdSettings{})
	c := dial(t, newDialer(t, Options{}), through.target)
	address := fmt.Sprintf("127.0.0.1:%d", server.port)
	out, err := exec.Command("ssh-keyscan", "-p", fmt.Sprint(server.port), "127.0.0.1").Output()
	if err != nil {
		t.Fatal(err)
	}
	var scanned []string
	for line := range strings.Lines(string(out)) {
		if _, _, key, _, _, err := ssh.ParseKnownHosts([]byte(line)); err == nil {
			scanned = append(scanned, describe(key))
		}
	}
	keys, err := c.ServerKeys(testContext(t), address)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, k := range keys {
		seen = append(seen, k.Type+" "+k.Fingerprint)
	}
	slices.Sort(scanned)
	slices.Sort(seen)
	if len(seen) != 3 || !slices.Equal(seen, scanned) {
		t.Errorf("seen %v, scanned %v", seen, scanned)
	}
	for _, preferred := range []string{"ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"} {
		if key, err := c.ServerKey(testContext(t), address, []string{preferred}); err != nil || key.Type != preferred {
			t.Errorf("%s: %v, %v", preferred, key.Type, err)
		}
	}
	if key, err := c.ServerKey(testContext(t), address, []string{"ssh-dss", "ssh-rsa"}); err != nil || key.Type != "ssh-rsa" {
		t.Errorf("%v, %v", key.Type, err)
	}
	mustRun(t, c)
}

// TestServerKeyOfAnother: what answers is no SSH server, is silent, or is not there.
func TestServerKeyOfAnother(t *testing.T) {
	c := dial(t, newDialer(t, Options{}), startSSHD(t, sshdSettings{}).target)
	answering := func(text string) string {
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
				t.Cleanup(func() { _ = conn.Close() }) // the garbage collector would close it sooner
				_, _ = conn.Write([]byte(text))
				if text != "" {
					_ = conn.Close()
				}
			}
		}()
		return l.Addr().String()
	}
	_, err := c.ServerKeys(testContext(t), answering("HTTP/1.1 400 \x1b[31mBad\r\n\r\n"))
	if e := wantError(t, err, problem.Unreachable, "no SSH server answers at 127.0.0.1:"); strings.Contains(e.Message, "\x1b") {
		t.Errorf("%q", e.Message)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.ServerKey(ctx, answering(""), nil)
	wantError(t, err, problem.Timeout, "timed out")
	mustRun(t, c)
}
