//go:build e2e && linux

package fleet

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dieEnv makes TestFleetThatDies boot a fleet and die; its value selects how.
const dieEnv = "AOIFLEET_E2E_DIE"

// placeholder is an agent that does nothing.
const placeholder = "#!/bin/sh\nexec sleep infinity\n"

func smallFleet(t *testing.T) Options {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte(placeholder), 0o755); err != nil {
		t.Fatal(err)
	}
	options := Options{
		Hosts:       []Spec{{Name: "london-1"}, {Name: "paris-1", Release: "bullseye"}},
		AgentBinary: agent,
	}
	options.FromEnv(os.Getenv)
	return options
}

// TestFleetThatDies is not a test but the process that the other tests kill.
func TestFleetThatDies(t *testing.T) {
	how := os.Getenv(dieEnv)
	if how == "" {
		return
	}
	f, err := Boot(t.Context(), smallFleet(t))
	if err != nil {
		t.Fatal(err)
	}
	// A client that survives its parent, with the name in its arguments.
	client := f.Command(t.Context(), "sh", "-c", "while :; do sleep 1; done", f.Netns)
	client.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("booted")
	switch how {
	case "panic":
		go func() { panic("in another goroutine, so that no deferred call runs") }()
	case "exit":
		os.Exit(3)
	}
	select {} // until the signal
}

// dyingFleet is a process that boots a fleet.
type dyingFleet struct {
	cmd    *exec.Cmd
	booted chan struct{} // closed when it has booted, or ended
}

func startDyingFleet(t *testing.T, how string) *dyingFleet {
	t.Helper()
	d := &dyingFleet{cmd: exec.Command(os.Args[0], "-test.run=^TestFleetThatDies$"), booted: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), dieEnv+"="+how, "TMPDIR="+t.TempDir()) // it removes nothing itself
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil { // the test failed before the process died
			_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
			_ = d.cmd.Wait()
		}
	})
	go func() {
		defer close(d.booted)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && lines.Text() != "booted" {
		}
	}()
	return d
}

// name waits for the fleet's name and returns it. On a new machine that takes minutes: before
// it has one, the root file systems of the hosts are made, perhaps by another process.
func (d *dyingFleet) name(t *testing.T) string {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-d.booted: // or it has just got its name
			ended = true
		}
		found, _ := filepath.Glob(fmt.Sprintf("%s/%s%d-*", stateDir, prefix, d.cmd.Process.Pid))
		if len(found) == 1 {
			return filepath.Base(found[0])
		}
	}
	t.Fatal("the fleet has ended without a name")
	return ""
}

func (d *dyingFleet) waitBooted(t *testing.T) {
	t.Helper()
	select {
	case <-d.booted:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// eventually polls, because the reaper works after the end of the process.
func eventually(t *testing.T, what func() string, done func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute) // a loaded machine compiles the agent first
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what())
		}
	}
}

// traces returns everything on the machine that belongs to a fleet.
func traces(name string) []string {
	var found []string
	for _, pattern := range []string{stateDir, DefaultDir, "/run/netns", "/sys/fs/cgroup", "/sys/fs/cgroup/*", "/run/systemd/nspawn/propagate"} {
		paths, _ := filepath.Glob(pattern + "/" + name + "*")
		found = append(found, paths...)
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	if strings.Contains(string(mounts), name) {
		found = append(found, "/proc/self/mounts")
	}
	return append(found, processes(name)...)
}

// processes returns those with the name in their arguments or their cgroup. A
// zombie does not count: it waits for its new parent, the machine's first process.
func processes(name string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range all {
		args, _ := os.ReadFile(process + "/cmdline")
		cgroup, _ := os.ReadFile(process + "/cgroup")
		status, _ := os.ReadFile(process + "/status")
		if strings.Contains(string(args)+string(cgroup), name) && !strings.Contains(string(status), "State:\tZ") {
			found = append(found, process)
		}
	}
	return found
}

// checkNothingLeft waits for the end of the reaper, the last trace of a fleet.
func checkNothingLeft(t *testing.T, name string) {
	t.Helper()
	var left []string
	eventually(t, func() string { return fmt.Sprintf("left: %q", left) }, func() bool {
		left = traces(name)
		return len(left) == 0
	})
}

func TestNothingIsLeftOfADeadProcess(t *testing.T) {
	for _, test := range []struct {
		how    string
		signal syscall.Signal // 0: it exits by itself
	}{
		{"panic", 0},
		{"exit", 0},
		{"interrupt", syscall.SIGINT},
		{"terminate", syscall.SIGTERM},
		{"kill", syscall.SIGKILL},
	} {
		t.Run(test.how, func(t *testing.T) {
			d := startDyingFleet(t, test.how)
			name := d.name(t)
			d.waitBooted(t)
			if test.signal != 0 {
				if left := traces(name); len(left) < 6 {
					t.Errorf("a running fleet shows only %q: this test checks the wrong places", left)
				}
				// To the whole group, as a terminal does.
				if err := syscall.Kill(-d.cmd.Process.Pid, test.signal); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.cmd.Wait(); err == nil {
				t.Error("the process did not die")
			}
			checkNothingLeft(t, name)
		})
	}
}

// The process is killed as soon as a trace of the boot's next step appears.
func TestNothingIsLeftOfABootCutShort(t *testing.T) {
	cgroups, err := cgroupMount()
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{
		DefaultDir + "/NAME",
		"/run/netns/NAME",
		DefaultDir + "/NAME/hosts/*/root/etc",
		cgroups + "/NAME/*-boot-1",
		"/run/systemd/nspawn/propagate/NAME-*",
	} {
		t.Run(strings.ReplaceAll(pattern, "/", "_"), func(t *testing.T) {
			d := startDyingFleet(t, "kill")
			name := d.name(t)
			eventually(t, func() string { return pattern }, func() bool {
				found, _ := filepath.Glob(strings.Replace(pattern, "NAME", name, 1))
				return len(found) > 0
			})
			if err := d.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = d.cmd.Wait()
			checkNothingLeft(t, name)
		})
	}
}

// When the reaper dies too, the next start does its work.
func TestNextStartTakesDownStaleFleet(t *testing.T) {
	d := startDyingFleet(t, "kill")
	name := d.name(t)
	d.waitBooted(t)
	reaper := reaperOf(t, name)
	if err := syscall.Kill(reaper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait()
	orphan := filepath.Join(DefaultDir, prefix+"0-orphan")
	if err := os.MkdirAll(filepath.Join(orphan, "hosts"), 0o700); err != nil {
		t.Fatal(err)
	}
	if left := traces(name); len(left) == 0 {
		t.Error("nothing is left without a reaper: this test proves nothing")
	}
	f, err := Boot(t.Context(), smallFleet(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	checkNothingLeft(t, name)
	if _, err := os.Stat(orphan); err == nil {
		t.Errorf("%s is left", orphan)
	}
	if _, err := f.Hosts[0].Shell(t.Context(), "true"); err != nil {
		t.Errorf("the new fleet was hit: %v", err)
	}
}

// reaperOf finds the process that waits for the fleet's lock.
func reaperOf(t *testing.T, name string) int {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if strings.HasPrefix(string(text), "flock\x00"+stateDir+"/"+name+"/lock") {
			var pid int
			if _, err := fmt.Sscanf(path, "/proc/%d/cmdline", &pid); err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("no reaper")
	return 0
}

func TestNothingIsLeftOfAFailedBoot(t *testing.T) {
	options := smallFleet(t)
	options.AgentBinary = "/nonexistent"
	f, err := Boot(t.Context(), options)
	if err == nil {
		t.Fatal("booted without an agent")
	}
	if f != nil {
		t.Error("a fleet together with an error")
	}
	checkNothingLeft(t, fmt.Sprintf("%s%d-", prefix, os.Getpid()))
}

// The machine's own settings are restored after the last fleet, unless another test
// runs a fleet at the same time.
func TestMachineIsPutBack(t *testing.T) {
	before := settings(t)
	f, err := Boot(t.Context(), smallFleet(t))
	if err != nil {
		t.Fatal(err)
	}
	if raised := settings(t); raised == before && strings.HasPrefix(before, "128\n") {
		t.Error("the limit of inotify instances was not raised")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := os.Stat(stateDir); err == nil {
		return // another fleet runs, and the last fleet restores the settings
	}
	if after := settings(t); after != before {
		t.Errorf("settings are %q, were %q", after, before)
	}
}

func settings(t *testing.T) string {
	t.Helper()
	inotify, err := os.ReadFile(inotifyFile)
	if err != nil {
		t.Fatal(err)
	}
	_, netns := os.Stat("/run/netns")
	_, nspawn := os.Stat("/run/systemd/nspawn")
	return fmt.Sprintf("%s netns %t nspawn %t", inotify, netns == nil, nspawn == nil)
}
