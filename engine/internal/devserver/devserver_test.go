package devserver

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const queue = "q"

// waits returns what it was told after a timer, and a signal that comes later.
func waits(ctx workflow.Context, text string) (string, error) {
	if err := workflow.Sleep(ctx, time.Second); err != nil {
		return "", err
	}
	var more string
	workflow.GetSignalChannel(ctx, "more").Receive(ctx, &more)
	return text + more, nil
}

// started starts a server, a client and a worker; the function stops all of them.
func started(t *testing.T, folder string) (*Server, client.Client, func()) {
	t.Helper()
	s, err := Start(folder)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.DialContext(t.Context(), client.Options{HostPort: s.Address()})
	if err != nil {
		t.Fatal(err)
	}
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflow(waits)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	return s, c, func() {
		w.Stop()
		c.Close()
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// A workflow that runs when the server stops goes on when the folder is used again: its timer and
// what was signalled before and after; and clients find the server at the same address. The name
// of the folder has what a URI of SQLite would read otherwise.
func TestStartAgain(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a folder?mode=memory&x=%41#y")
	s, c, stop := started(t, folder)
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: queue, ID: "one"}, waits, "hello")
	if err != nil {
		t.Fatal(err)
	}
	for events := c.GetWorkflowHistory(t.Context(), "one", run.GetRunID(), true, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); ; {
		if event, err := events.Next(); err != nil {
			t.Fatal(err)
		} else if event.GetEventType() == enums.EVENT_TYPE_TIMER_STARTED {
			break
		}
	}
	address := s.Address()
	if _, err := Start(folder); err == nil || !problem.Is(err, problem.Usage) || !strings.Contains(err.Error(), "does it run already?") {
		t.Errorf("a second server in the folder: %v", err)
	}
	stop()
	if text, err := os.ReadFile(s.DatabaseFile()); err != nil || !bytes.Contains(text, []byte("hello")) {
		t.Errorf("the database has %d bytes and no input, %v", len(text), err)
	}

	s, c, stop = started(t, folder)
	defer stop()
	if s.Address() != address {
		t.Errorf("%s, before %s", s.Address(), address)
	}
	if err := c.SignalWorkflow(t.Context(), "one", run.GetRunID(), "more", " again"); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := c.GetWorkflow(t.Context(), "one", run.GetRunID()).Get(t.Context(), &got); err != nil || got != "hello again" {
		t.Errorf("%q, %v", got, err)
	}
}

// It listens on loopback only, with the namespaces that it was told; what it logs is in its
// folder, which only its owner can enter.
func TestNamespaces(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "server")
	s, err := Start(folder, "fleet-a", "fleet-b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop() }()
	for _, name := range []string{"fleet-a", "fleet-b"} {
		c, err := client.DialContext(t.Context(), client.Options{HostPort: s.Address(), Namespace: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: queue, ID: "one"}, waits, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	host, _, err := net.SplitHostPort(s.Address())
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("%s, %v", s.Address(), err)
	}
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(filepath.Join(folder, logName)); err != nil {
		t.Error(err)
	}
}

// A folder that can't be used is an error.
func TestNotStarted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(file); err == nil || !problem.Is(err, problem.Usage) {
		t.Error(err)
	}
}
