package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// The command of a webhook's address that is not waited for any longer does not stay behind.
func TestHookCommandEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	record, err := newRecorder(t.TempDir(), journal.Head{Run: "20261123-084512-K3F9"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer record.close()
	f := &Fleet{Inventory: &inventory.Inventory{Notify: secretsource.Source{Command: "echo $$ >" + file + "; exec sleep 1000000"}}, record: record,
		caller: Caller{Say: func(string) {}, Getenv: os.Getenv}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	pid := make(chan int, 1)
	go func() {
		defer stop()
		for t.Context().Err() == nil {
			text, _ := os.ReadFile(file)
			if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				pid <- n
				return
			}
		}
	}()
	f.readHook(ctx)
	for n := <-pid; !errors.Is(syscall.Kill(n, 0), syscall.ESRCH); { // also a zombie exists
	}
}
