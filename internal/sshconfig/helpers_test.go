package sshconfig

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// sshProgram returns the real ssh, whose output is the specification.
func sshProgram(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("ssh")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("ssh is not installed")
	}
	return path
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// both returns a resolver that runs ssh and one that reads the files itself.
func both(t *testing.T, home string) map[string]*Resolver {
	t.Helper()
	opt := Options{Home: home, User: "me", HostName: "desk.example.net",
		Getenv: func(name string) string { return map[string]string{"KEYS": "/keys", "SOCK": "/run/agent"}[name] }}
	plain := opt
	opt.Program = sshProgram(t)
	t.Setenv("KEYS", "/keys")
	t.Setenv("SOCK", "/run/agent")
	return map[string]*Resolver{"ssh": New(opt), "files": New(plain)}
}

func makeExecutable(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
}
