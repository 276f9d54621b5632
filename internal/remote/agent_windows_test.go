package remote

import (
	"crypto/ed25519"
	"os"
	"testing"

	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/windows"
)

// The agent of Windows has a named pipe.
func TestAgentPipe(t *testing.T) {
	const name = `\\.\pipe\aoifleet-test-agent`
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := windows.CreateNamedPipe(path, windows.PIPE_ACCESS_DUPLEX, windows.PIPE_TYPE_BYTE, 1, 1<<16, 1<<16, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = windows.ConnectNamedPipe(pipe, nil)
		_ = agent.ServeAgent(keys, os.NewFile(uintptr(pipe), name))
	}()
	var a agents
	defer a.close()
	signers, err := a.signers(t.Context(), "//./pipe/aoifleet-test-agent") // as SSH_AUTH_SOCK in a Unix shell has it
	if err != nil || len(signers) != 1 {
		t.Fatal(signers, err)
	}
	if _, err := signers[0].Sign(nil, []byte("data")); err != nil {
		t.Error(err)
	}
	if _, err := a.signers(t.Context(), `\\.\pipe\aoifleet-no-agent`); !os.IsNotExist(err) {
		t.Errorf("no agent: %v", err)
	}
}
