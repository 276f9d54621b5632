package lab

import (
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A machine is a jump host to the other machines only.
func TestForward(t *testing.T) {
	f := start(t, Options{Machines: 2})
	jump, behind := f.Machines()[0], f.Machines()[1]
	client := mustDial(t, jump)
	conn, err := client.Dial("tcp", behind.Addr)
	if err != nil {
		t.Fatal(err)
	}
	greeting := make([]byte, 8)
	if _, err := io.ReadFull(conn, greeting); err != nil || string(greeting) != "SSH-2.0-" {
		t.Errorf("%q, %v", greeting, err)
	}
	for address, message := range map[string]string{"192.0.2.1:22": "open failed", "example.net:22": "open failed", "127.0.0.1:1": "Connection refused"} {
		_, err := client.Dial("tcp", address)
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) || !strings.Contains(refused.Message, message) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
