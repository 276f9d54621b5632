package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const id = "20261123-084512-K3F9"

func head(id string, hosts ...string) Head {
	return Head{Run: id, Command: "rotate", Tool: "dev", Owner: "operator@workstation", Inventory: "/fleet.yaml", Hosts: hosts}
}

func create(t *testing.T, dir, id string, hosts ...string) *Journal {
	t.Helper()
	j, err := Create(dir, head(id, hosts...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func add(t *testing.T, j *Journal, entries ...Entry) {
	t.Helper()
	if err := j.Append(entries...); err != nil {
		t.Fatal(err)
	}
}

func number(n int) *int { return &n }

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "runs")
	before := time.Now()
	j := create(t, dir, id, "one", "two", "three")
	want := []Entry{
		{Event: Plan, Host: "one", Step: "rotate", Old: "AA", New: "BB"},
		{Event: Step, Host: "one", Step: "swap"},
		{Event: End, Host: "two", Outcome: "unreachable", Class: "unreachable", Message: "connection\nrefused"},
		{Event: End, Host: "one", Outcome: "rotated"},
		{Event: End, Host: "one", Outcome: "rotated", Proof: "log_clean", Old: "AA", New: "BB"},
		{Event: Finish, Exit: number(4)},
	}
	add(t, j, want[0])
	add(t, j, want[1:5]...)

	run, err := Read(dir, id)
	if err != nil || !run.Unfinished() || run.Exit != nil {
		t.Fatalf("before it ends: %+v, %v", run, err)
	}
	add(t, j, want[5])
	if run, err = Read(dir, id); err != nil {
		t.Fatal(err)
	}
	if run.Unfinished() || *run.Exit != 4 || run.Damaged != 0 || !reflect.DeepEqual(run.Head, head(id, "one", "two", "three")) {
		t.Errorf("%+v", run)
	}
	if got := run.Outcomes(); !reflect.DeepEqual(got, map[string]int{"rotated": 1, "unreachable": 1}) {
		t.Errorf("outcomes %v", got)
	}
	if run.Ends["one"].Proof != "log_clean" {
		t.Errorf("the last end of a host does not count: %+v", run.Ends["one"])
	}
	got := run.Entries[1:]
	for i := range got {
		if at := got[i].At; at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) || at.Location() != time.UTC {
			t.Errorf("at %v", at)
		}
		got[i].At = time.Time{}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("entries\n%+v, want\n%+v", got, want)
	}
}

func TestCreateIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // it has no file modes
	}
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	create(t, dir, id)
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, filepath.Join(dir, id+".jsonl"): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	create(t, dir, id, "one")
	path := filepath.Join(dir, id+extension)
	kept, _ := os.ReadFile(path)
	if _, err := Create(dir, head(id)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, kept) || len(kept) == 0 {
		t.Errorf("the first was changed: %q", now)
	}
	for _, bad := range []string{"", "last", "../" + id, id + "/x", "20261123-084512-k3f9", "20261123-084512-", id + "\n"} {
		if _, err := Create(dir, head(bad)); err == nil {
			t.Errorf("%q is accepted as an id", bad)
		}
	}
	if _, err := Create(path, head(id)); err == nil {
		t.Error("a file is accepted as a directory")
	}
}

func TestFailedCreateLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(dir, head(id, strings.Repeat("x", maxLine))); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("a line that could not be read back: %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestManyAtOnce(t *testing.T) {
	const hosts, lines = 64, 100
	dir := t.TempDir()
	j := create(t, dir, id)
	var all sync.WaitGroup
	for h := range hosts {
		all.Go(func() {
			for n := range lines {
				e := Entry{Event: Step, Host: fmt.Sprint(h), Step: fmt.Sprint(n), Message: strings.Repeat("x", n)}
				if err := j.Append(e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	run, err := Read(dir, id)
	if err != nil || run.Damaged != 0 || len(run.Entries) != 1+hosts*lines {
		t.Fatalf("%d entries, %d damaged, %v", len(run.Entries), run.Damaged, err)
	}
	next := map[string]int{}
	for i, e := range run.Entries[1:] {
		if e.Step != fmt.Sprint(next[e.Host]) || len(e.Message) != next[e.Host] {
			t.Fatalf("host %s: step %s, want %d", e.Host, e.Step, next[e.Host])
		}
		next[e.Host]++
		if e.At.Before(run.Entries[i].At) {
			t.Fatalf("line %d is older than the one before it", i+1)
		}
	}
}

// disk is a file that fails on demand and records how much is synced.
type disk struct {
	mu            sync.Mutex
	written, safe int // bytes; safe are those synced
	syncs, writes int
	room          int // capacity in bytes
	syncError     error
	entered       chan struct{} // nil: a sync does not wait
	leave         chan struct{}
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if n := d.room - d.written; len(p) > n {
		d.written += n
		return n, syscall.ENOSPC
	}
	d.written += len(p)
	return len(p), nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	upTo, err := d.written, d.syncError
	d.syncs++
	d.mu.Unlock()
	if d.entered != nil {
		d.entered <- struct{}{}
		<-d.leave
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.safe = upTo
	}
	return err
}

func (d *disk) Close() error { return nil }

func TestAppendReturnsWhenOnDisk(t *testing.T) {
	d := &disk{room: 1 << 20}
	j := &Journal{file: d}
	for n := range 5 {
		if err := j.Append(Entry{Event: Done}, Entry{Event: Done}); err != nil || d.safe != d.written || d.writes != n+1 || d.syncs != n+1 {
			t.Fatalf("%v: %d of %d bytes on disk, %d writes, %d syncs", err, d.safe, d.written, d.writes, d.syncs)
		}
	}
}

func TestFullDiskIsFinal(t *testing.T) {
	d := &disk{room: 150}
	j := &Journal{path: "runs/x.jsonl", file: d}
	e := Entry{Event: Step, Host: "one", Step: "swap"}
	if err := j.Append(e); err != nil || d.safe != d.written {
		t.Fatal(err, d.safe, d.written)
	}
	first := j.Append(e)
	if !errors.Is(first, syscall.ENOSPC) || !strings.Contains(first.Error(), "runs/x.jsonl") {
		t.Fatalf("%v", first)
	}
	d.room = 1 << 20 // space is available again, but the truncated line is still there
	writes, syncs := d.writes, d.syncs
	if err := j.Append(e); err != first {
		t.Errorf("later: %v", err)
	}
	if d.writes != writes || d.syncs != syncs {
		t.Error("it wrote after a truncated line")
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	d := &disk{room: 1 << 20, syncError: syscall.EIO}
	j := &Journal{file: d}
	first := j.Append(Entry{Event: Done})
	if !errors.Is(first, syscall.EIO) {
		t.Fatalf("%v", first)
	}
	d.syncError = nil
	if err := j.Append(Entry{Event: Done}); err != first || d.syncs != 1 {
		t.Errorf("later: %v, %d syncs", err, d.syncs)
	}
}

func TestFileSystemWithoutSync(t *testing.T) {
	for _, err := range []error{syscall.EINVAL, syscall.ENOTSUP, syscall.ENOTTY} {
		j := &Journal{file: &disk{room: 1 << 20, syncError: err}}
		if got := j.Append(Entry{Event: Done}); got != nil {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// Calls that arrive while an fsync runs wait for the next one and share it.
func TestSyncsAreShared(t *testing.T) {
	const late = 20
	d := &disk{room: 1 << 20, entered: make(chan struct{}), leave: make(chan struct{})}
	j := &Journal{file: d}
	done := make(chan int, late+1)
	send := func() {
		if err := j.Append(Entry{Event: Done}); err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		done <- d.safe
	}
	go send()
	<-d.entered
	first := d.written
	for range late {
		go send()
	}
	all := 0
	for writes := 0; writes <= late; runtime.Gosched() {
		d.mu.Lock()
		writes, all = d.writes, d.written
		d.mu.Unlock()
	}
	d.leave <- struct{}{}
	<-d.entered
	if safe := <-done; safe != first {
		t.Errorf("the first returned with %d bytes on disk, want %d", safe, first)
	}
	d.leave <- struct{}{}
	for range late {
		if safe := <-done; safe != all {
			t.Errorf("a late one returned with %d bytes on disk", safe)
		}
	}
	if d.syncs != 2 {
		t.Errorf("%d syncs, want 2", d.syncs)
	}
}

func TestAppendObeysTheLimitsOfRead(t *testing.T) {
	d := &disk{room: 1 << 30}
	j := &Journal{file: d, size: maxFile - 10}
	if err := j.Append(Entry{Event: Done}); err == nil || d.written != 0 {
		t.Errorf("file too large: %v", err)
	}
	j = &Journal{file: d}
	if err := j.Append(Entry{Event: Done}, Entry{Event: Done, Message: strings.Repeat("x", maxLine)}); err == nil || d.written != 0 {
		t.Errorf("line too long: %v", err)
	}
}

func TestLongestLineIsReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a fixed time, which has a fixed length
		dir := t.TempDir()
		j := create(t, dir, id)
		e := Entry{At: time.Now().UTC(), Event: Step}
		text, _ := json.Marshal(e)
		e.Message = strings.Repeat("x", maxLine-len(text)-len(`,"message":""`)-len("\n"))
		add(t, j, e)
		run, err := Read(dir, id)
		if err != nil || run.Entries[1].Message != e.Message {
			t.Errorf("%v", err)
		}
		e.Message += "x"
		if err := j.Append(e); err == nil {
			t.Error("a longer one is written too")
		}
	})
}

func TestClose(t *testing.T) {
	dir := t.TempDir()
	j := create(t, dir, id)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(Entry{Event: Done}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}
