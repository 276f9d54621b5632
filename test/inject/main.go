//go:build linux && amd64

// Command inject runs a command, or attaches to a process, and breaks one of the system
// calls with which it and its descendants change the disk: a name, a file, its
// attributes, or a sync.
//
//	inject -root DIR -record FILE -- COMMAND …                      records the calls
//	inject -root DIR -at 'mv rename /a /b #1' -fault EIO -- COMMAND …
//	inject -fault killed-before -match REGEXP -pid PID              the first such call, in any child
//
// strace(1) can make calls fail too, but it counts the calls of each process: "the third
// rename of the whole script" has no name there, and neither have the calls of a
// subshell. Here a call is named by its program, the call, its paths, and how many such
// calls were before it.
//
// With -disks, syncs are answered without effect, and the fault "power" loses what was
// not synced. Only amd64 has the registers that it changes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread() // ptrace(2): all requests come from one thread
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "inject: %v\n", err)
		os.Exit(125)
	}
	if status.Signaled() {
		_ = unix.Kill(os.Getpid(), status.Signal())
	}
	os.Exit(status.ExitStatus())
}

// list is a flag that can be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func run(args []string) (unix.WaitStatus, error) {
	t := &tracer{processes: map[int]*process{}, seen: map[string]int{}}
	var disks list
	flags := flag.NewFlagSet("inject", flag.ContinueOnError)
	flags.StringVar(&t.root, "root", "", "only calls below this `DIR` count; names are relative to it")
	flags.Var(&t.only, "only", "only calls below this `DIR` of the root count; may be repeated")
	flags.Var(&t.except, "except", "programs below this `DIR` are not traced, nor their children")
	flags.StringVar(&t.live, "live", "", "record the state of this `FILE` after each call")
	flags.StringVar(&t.at, "at", "", "the `CALL` to break")
	match := flags.String("match", "", "break the first call whose name matches this `REGEXP`")
	flags.StringVar(&t.fault, "fault", "", "killed-before, killed-after, program-killed, power, read-only, EIO, ENOSPC or EROFS")
	flags.Var(&disks, "disks", "simulate a disk at this `DIR` of the root; may be repeated")
	flags.Var(&t.lost, "lose", "the fault power loses the unsynced changes of this disk; may be repeated")
	record := flags.String("record", "", "write the calls to this `FILE`")
	pid := flags.Int("pid", 0, "attach to this `PROCESS`")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	if err := t.check(); err != nil {
		return 0, err
	}
	if *match != "" {
		var err error
		if t.match, err = regexp.Compile(*match); err != nil {
			return 0, err
		}
	}
	for _, d := range disks {
		t.disks = append(t.disks, &disk{name: d, root: t.root + d})
	}
	t.out = io.Discard
	if *record != "" {
		f, err := os.Create(*record)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		t.out = f
	}
	if *pid != 0 {
		return t.attach(*pid)
	}
	if flags.NArg() == 0 {
		return 0, errors.New("no command")
	}
	return t.start(exec.Command(flags.Arg(0), flags.Args()[1:]...))
}
