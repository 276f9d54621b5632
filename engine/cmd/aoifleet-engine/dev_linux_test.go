package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkNothingRuns looks for processes of the VMs, and for the server.
func checkNothingRuns(t *testing.T, dir, address string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		if text, _ := os.ReadFile(path); bytes.Contains(text, []byte("LAB_MACHINE="+dir)) { // others end meanwhile
			t.Errorf("%s belongs to a VM", path)
		}
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("the server listens")
	}
}

// With a command dev ends with it and with its exit code, and leaves nothing.
func TestDevCommand(t *testing.T) {
	var stdout, stderr bytes.Buffer
	p := process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
	code := run(context.Background(), p, []string{"dev", "sh", "-c", `. "$DEV/env"; echo "$TEMPORAL_ADDRESS $DEV"; exit 5`})
	address, dir, _ := strings.Cut(strings.TrimSpace(stdout.String()), " ")
	if code != 5 || stderr.Len() > 0 || dir == "" {
		t.Fatalf("exit code %d\n%s\n%s", code, &stdout, &stderr)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
	checkNothingRuns(t, dir, address)
}

// What is wrong is said before anything starts.
func TestDevRefuses(t *testing.T) {
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"the sites are london and paris": {"dev", "--without", "madrid"},
		"not a new or empty folder":      {"dev", "--dir", used},
		"unknown flag":                   {"dev", "--address", "x"},
	} {
		var stderr bytes.Buffer
		p := process{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, getenv: func(string) string { return "" }}
		if code := run(context.Background(), p, args); code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d: %s", args, code, &stderr)
		}
	}
	if left, _ := os.ReadDir(used); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
