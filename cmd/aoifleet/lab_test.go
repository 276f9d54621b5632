//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/aoifleet/aoifleet/internal/lab"
)

// scriptLab is the fleet of one script and the state that the script remembers.
type scriptLab struct {
	*lab.Fleet
	snapshots map[string]string // of a machine's files
	processes map[string]string // InvocationID of a machine's agent
	counts    map[string]lab.Counts
}

func labCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"lab":          startLab,
		"defaults":     setDefaults,
		"rollout":      setRollout,
		"denies":       denies,
		"deaf":         deaf,
		"fault":        fault,
		"systemctl":    systemctl,
		"agent":        agentState,
		"live":         live,
		"configured":   configured,
		"version":      installedVersion,
		"aged":         aged,
		"settled":      settled,
		"nothing-left": nothingLeft,
		"cleaned":      cleaned,
		"remember":     remember,
		"unchanged":    unchanged,
		"restarted":    restarted,
		"execs":        execs,
		"runid":        runIDOf,
		"connections":  connections,
	}
}

// startLab: lab [flags] MACHINE… starts a fleet in $WORK/lab, with its
// inventory in AOIFLEET_INVENTORY and its thumbprints in OLD and NEW.
func startLab(ts *testscript.TestScript, _ bool, args []string) {
	opts := lab.Options{Dir: ts.MkAbs("lab"), Group: func(string) string { return "fleet" }, RestartDelay: 100 * time.Millisecond, Notice: func(string) {}}
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.IntVar(&opts.Parallel, "parallel", 1, "")
	flags.IntVar(&opts.MaxFailures, "max-failures", 1, "")
	flags.BoolVar(&opts.NoLive, "no-live", false, "")
	flags.DurationVar(&opts.Window, "window", time.Second, "")
	registered := flags.Bool("azure", false, "the agents ask the simulated Azure of the script")
	configuration := flags.String("configuration", "", "config.yaml of all machines")
	manager := flags.String("manager", "apt", "package manager of all machines")
	installed := flags.String("installed", lab.PackageVersions[0], "version of the agent's package; none: it is not a package")
	ts.Check(flags.Parse(args))
	opts.Package = func(string) (string, string) { return *manager, strings.TrimPrefix(*installed, "none") }
	names := flags.Args()
	opts.Machines, opts.Name = len(names), func(i int) string { return names[i] }
	if *configuration != "" {
		text := ts.ReadFile(*configuration)
		opts.Configuration = func(string) string { return text }
	}
	s := theState(ts)
	if *registered {
		opts.Registered = (&labAzure{application: s.azure.app}).registered
	}
	opts.Route = func(address string) string {
		if at := s.outside.Load(); at != nil && strings.HasSuffix(address, ":443") {
			return *at
		}
		return ""
	}
	fleet, err := lab.Start(context.Background(), opts)
	ts.Check(err)
	ts.Defer(func() { _ = fleet.Close() })
	theState(ts).lab = &scriptLab{fleet, map[string]string{}, map[string]string{}, map[string]lab.Counts{}}
	ts.Setenv("AOIFLEET_INVENTORY", fleet.InventoryFile())
	ts.Setenv("OLD", fleet.OldThumbprint())
	ts.Setenv("NEW", fleet.NewThumbprint())
}

func theLab(ts *testscript.TestScript) *scriptLab {
	l := theState(ts).lab
	if l == nil {
		ts.Fatalf("there is no lab yet")
	}
	return l
}

func machine(ts *testscript.TestScript, args []string, least int) *lab.Machine {
	if len(args) < least {
		ts.Fatalf("too few arguments")
	}
	m := theLab(ts).Machine(args[0])
	if m == nil {
		ts.Fatalf("no machine is called %q", args[0])
	}
	return m
}

// setDefaults: defaults LINE… puts lines into the inventory's defaults, each
// in place of the line with the same key.
func setDefaults(ts *testscript.TestScript, _ bool, args []string) {
	path := theLab(ts).InventoryFile()
	lines := strings.Split(ts.ReadFile(path), "\n")
	for _, arg := range args {
		key, _, _ := strings.Cut(arg, ":")
		var kept []string
		for _, line := range lines {
			if !strings.HasPrefix(line, "  "+key+":") {
				kept = append(kept, line)
			}
			if line == "defaults:" {
				kept = append(kept, "  "+arg)
			}
		}
		lines = kept
	}
	ts.Check(os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644))
}

// setRollout: rollout TEXT sets the inventory's rollout.
func setRollout(ts *testscript.TestScript, _ bool, args []string) {
	path := theLab(ts).InventoryFile()
	line := regexp.MustCompile(`(?m)^rollout: .*$`)
	ts.Check(os.WriteFile(path, []byte(line.ReplaceAllLiteralString(ts.ReadFile(path), "rollout: "+args[0])), 0o644))
}

// denies: denies MACHINE makes Entra refuse the running agent, which logs that.
func denies(ts *testscript.TestScript, _ bool, args []string) {
	m := machine(ts, args, 1)
	log, err := os.OpenFile(filepath.Join(m.Root, "var/log/az-aoi-ingestion/stdout.log"), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = fmt.Fprintf(log, "%s ERROR az_aoi_ingestion::secrets: Failed to authenticate: AADSTS700027\n", time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
	ts.Check(errors.Join(err, log.Close()))
}

// deaf: deaf MACHINE makes the running agent close its port.
func deaf(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(filepath.Join(machine(ts, args, 1).Root, "proc/net/tcp"), nil, 0o644))
}

// fault: fault MACHINE [FAULT]… sets the faults of a machine; OLD and NEW as a
// last word stand for the thumbprints.
func fault(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(machine(ts, args, 1).SetFault(args[1:]...))
}

// systemctl: systemctl MACHINE VERB acts on the machine's agent as an admin would.
func systemctl(ts *testscript.TestScript, _ bool, args []string) {
	if out, status := machine(ts, args, 2).Systemctl(args[1], lab.Unit); status != 0 {
		ts.Fatalf("%s", out)
	}
}

// agentState: agent MACHINE STATE waits until the agent's unit has a state, such
// as active, failed or inactive; with a regexp, until its log has such a text too.
func agentState(ts *testscript.TestScript, _ bool, args []string) {
	m := machine(ts, args, 2)
	await(ts, strings.Join(args, " "), func() bool {
		log, _ := m.AgentLog()
		return m.AgentState().Active == args[1] && (len(args) < 3 || regexp.MustCompile(args[2]).MatchString(log))
	})
}

// await polls, because the condition comes true in another process.
func await(ts *testscript.TestScript, what string, condition func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("never happened: %s", what)
		}
	}
}

// live: live MACHINE old|new|none
func live(ts *testscript.TestScript, neg bool, args []string) {
	l, m := theLab(ts), machine(ts, args, 2)
	want, ok := map[string]string{"old": l.OldThumbprint(), "new": l.NewThumbprint(), "none": ""}[args[1]]
	if !ok {
		ts.Fatalf("usage: live MACHINE old|new|none")
	}
	if got := m.LiveThumbprint(); (got == want) == neg {
		ts.Fatalf("the live certificate is %q, old is %s, new %s", got, l.OldThumbprint(), l.NewThumbprint())
	}
}

// configured: configured MACHINE REGEXP matches the agent's configuration.
func configured(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(filepath.Join(machine(ts, args, 2).Root, "etc/az-aoi-ingestion/config.yaml"))
	if regexp.MustCompile("(?m)"+args[1]).MatchString(text) == neg {
		ts.Fatalf("the configuration:\n%s", text)
	}
}

// installedVersion: version MACHINE VERSION compares the version of the agent's program.
func installedVersion(ts *testscript.TestScript, neg bool, args []string) {
	if got := machine(ts, args, 2).Version(); got != args[1] != neg {
		ts.Fatalf("%s has version %q", args[0], got)
	}
}

// aged: aged MACHINE waits until the agent is so old that a file written now is certainly
// newer: the kernel's file times are coarse.
func aged(ts *testscript.TestScript, _ bool, args []string) {
	m := machine(ts, args, 1)
	await(ts, "an agent of 100 ms", func() bool {
		var now unix.Timespec
		ts.Check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
		return time.Duration(now.Nano())-time.Duration(m.AgentState().StartedAt)*time.Microsecond > 100*time.Millisecond
	})
}

// settled: settled MACHINE waits until a machine has ended an abandoned change by itself.
func settled(ts *testscript.TestScript, _ bool, args []string) {
	m := machine(ts, args, 1)
	state := filepath.Join(m.Root, "var/lib/aoifleet", lab.Unit)
	await(ts, "the end of the transaction", func() bool {
		ended, _ := filepath.Glob(filepath.Join(state, "rolled-back"))
		open, _ := filepath.Glob(filepath.Join(state, "[pu]*ing"))
		armed, _ := filepath.Glob(filepath.Join(state, "backups/*/host.sh"))
		return len(ended) == 1 && len(open)+len(armed) == 0
	})
}

// nothingLeft: nothing-left MACHINE checks that a machine has no unfinished transaction and
// no temporary file.
func nothingLeft(ts *testscript.TestScript, neg bool, args []string) {
	m := machine(ts, args, 1)
	if left := leftOn(ts, m); (len(left) == 0) == neg {
		ts.Fatalf("left on %s: %v", m.Name, left)
	}
}

// cleaned: cleaned MACHINE… waits until nothing is left.
func cleaned(ts *testscript.TestScript, _ bool, args []string) {
	for i := range args {
		m := machine(ts, args[i:], 1)
		await(ts, "nothing left on "+m.Name, func() bool { return len(leftOn(ts, m)) == 0 })
	}
}

func leftOn(ts *testscript.TestScript, m *lab.Machine) (left []string) {
	for _, root := range []string{m.Root, m.Home} {
		ts.Check(filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			name := filepath.Base(path)
			if strings.HasPrefix(name, "staged-") || strings.HasPrefix(name, ".aoifleet-") || strings.HasPrefix(name, "diags-") || strings.HasPrefix(name, "aoifleet-diags-") || name == "pending" || name == "undoing" || strings.HasPrefix(name, "rehears") ||
				strings.HasPrefix(name, "aoifleet-guard") || name == "host.sh" || name == "deadline" {
				left = append(left, path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went away meanwhile
			}
			return err
		}))
	}
	return append(left, m.Timers()...)
}

// remember: remember MACHINE… keeps the current state of machines.
func remember(ts *testscript.TestScript, _ bool, args []string) {
	l := theLab(ts)
	for i := range args {
		m := machine(ts, args[i:], 1)
		l.snapshots[m.Name] = snapshot(ts, m)
		l.processes[m.Name] = m.AgentState().InvocationID
		l.counts[m.Name] = m.Execs()
	}
}

// unchanged: unchanged MACHINE checks that no file on a machine, except the agent's log, has
// changed since it was remembered.
func unchanged(ts *testscript.TestScript, neg bool, args []string) {
	m := machine(ts, args, 1)
	was, is := theLab(ts).snapshots[m.Name], snapshot(ts, m)
	if (was == is) == neg {
		ts.Fatalf("was:\n%s\nis:\n%s", was, is)
	}
}

// restarted: restarted MACHINE checks that the agent is another process than when the
// machine was remembered.
func restarted(ts *testscript.TestScript, neg bool, args []string) {
	m := machine(ts, args, 1)
	if (m.AgentState().InvocationID != theLab(ts).processes[m.Name]) == neg {
		ts.Fatalf("%+v", m.AgentState())
	}
}

// execs: execs MACHINE N counts the commands run since it was remembered.
func execs(ts *testscript.TestScript, _ bool, args []string) {
	m := machine(ts, args, 2)
	counted(ts, args[1], m.Execs().Execs-theLab(ts).counts[m.Name].Execs)
}

// connections: connections MACHINE N is the same for connections.
func connections(ts *testscript.TestScript, _ bool, args []string) {
	m := machine(ts, args, 2)
	counted(ts, args[1], m.Execs().Connections-theLab(ts).counts[m.Name].Connections)
}

func counted(ts *testscript.TestScript, want string, got int64) {
	if n, err := strconv.ParseInt(want, 10, 64); err != nil || n != got {
		ts.Fatalf("%d, want %s", got, want)
	}
}

// snapshot returns a description of every file of a machine but the agent's log: type, mode,
// owner, size, time of the last write, digest.
func snapshot(ts *testscript.TestScript, m *lab.Machine) string {
	var b bytes.Buffer
	for _, root := range []string{m.Root, m.Home} {
		ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || strings.HasSuffix(path, "/stdout.log") || strings.HasPrefix(path, filepath.Join(m.Root, "proc")) {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			var sum [sha256.Size]byte
			if info.Mode().IsRegular() {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				sum = sha256.Sum256(data)
			}
			fmt.Fprintf(&b, "%s %v %d %d %x\n", path, info.Mode(), info.Size(), info.ModTime().UnixNano(), sum[:8])
			return nil
		}))
	}
	return b.String()
}

// runid: runid NAME N puts the id of the Nth run that `runs list -o json` has
// just printed into a variable; 1 is the newest.
func runIDOf(ts *testscript.TestScript, _ bool, args []string) {
	var list struct {
		Runs []struct {
			ID string `json:"run_id"`
		} `json:"runs"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Setenv(args[0], list.Runs[n-1].ID)
}
