//go:build !nodev

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/aoifleet/aoifleet/engine/internal/devlab"
	"github.com/aoifleet/aoifleet/internal/lab"
)

// programs builds both programs into a new folder: of aoifleet-engine the one of the machines, and
// beside it aoifleet-engine-dev, the one with dev.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, build := range map[string][]string{
		"aoifleet":            {"../../..", "./cmd/aoifleet"},
		"aoifleet-engine":     {"../..", "-tags=nodev", "./cmd/aoifleet-engine"},
		"aoifleet-engine-dev": {"../..", "./cmd/aoifleet-engine"},
	} {
		cmd := exec.Command("go", append([]string{"build", "-o", filepath.Join(dir, name)}, build[1:]...)...)
		cmd.Dir = build[0]
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// step is a command that dev prints, and the exit code that it says.
type step struct {
	command string
	code    int
}

var exitCode = regexp.MustCompile(`# exit code (\d+)`)

// readSteps reads what dev prints, to the end of its commands, and returns those.
func readSteps(t *testing.T, r io.Reader) (steps []step) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		command, indented := strings.CutPrefix(lines.Text(), "  ")
		if !indented {
			continue
		}
		s := step{command: command}
		if m := exitCode.FindStringSubmatch(command); m != nil {
			s.code = int(m[1][0] - '0')
		}
		if steps = append(steps, s); strings.HasPrefix(command, "aoifleet-engine worker ") {
			return steps // the last one
		}
	}
	t.Fatalf("dev has ended after %d commands: %v", len(steps), lines.Err())
	return nil
}

// Each command that dev prints does what is printed beside it, in a shell and with the real programs.
// The workstation and the worker of paris have the program without dev. At the end nothing runs any
// more, and each VM has the certificate that the reports say.
func TestDev(t *testing.T) {
	bin, dir := programs(t), filepath.Join(t.TempDir(), "dev")
	dev := exec.Command(filepath.Join(bin, "aoifleet-engine-dev"), "dev", "--dir", dir, "--without", "paris")
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	dev.Stderr = log
	stdout, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after a failure: its VMs end with it
		_ = dev.Process.Signal(syscall.SIGINT)
		_ = dev.Wait()
	})
	steps := readSteps(t, stdout)
	enter, worker := steps[0].command, steps[len(steps)-1].command
	site := exec.Command("sh", "-c", enter+"\nexec "+worker)
	site.Stderr = log
	if err := site.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = site.Process.Kill() })
	const without = `aoifleet-engine dev --dir / 2>&1 | grep "^hint: make engine-dev" && aoifleet-engine dev`
	steps[len(steps)-1] = step{without, 2}
	for _, s := range steps[1:] {
		cmd := exec.Command("sh", "-c", enter+"\n"+s.command)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != s.code {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%s: %v\n%s\nthe workers: %s", s.command, err, out, text)
		}
		t.Logf("$ %s\n%s", s.command, out)
	}
	end(t, site)
	address := serverOf(t, dir)
	end(t, dev)
	if text, err := os.ReadFile(log.Name()); err != nil || !bytes.Contains(text, []byte(`the worker at "paris" is ready`)) || bytes.Contains(text, []byte("error: ")) {
		t.Errorf("the workers: %v\n%s", err, text)
	}
	for _, name := range devlab.Sites {
		checkVMs(t, filepath.Join(dir, "vms", name), name)
	}
	checkNothingRuns(t, dir, address)
}

// end ends a program as Ctrl-C does. It must end well.
func end(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", cmd.Args, err)
	}
}

// serverOf returns the address that the folder's shell file has.
func serverOf(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `. "$0/env"; printf %s "$TEMPORAL_ADDRESS"`, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// checkVMs reads the disks: one VM has its old certificate.
func checkVMs(t *testing.T, fleet, site string) {
	t.Helper()
	for i := range devlab.VMs {
		name, want := devlab.VM(site, i), lab.NewCertificate
		if name == "paris-sftp-04" {
			want = lab.OldCertificate
		}
		live, err := os.ReadFile(filepath.Join(fleet, "machines", name, "root", lab.CertificatePath))
		file, err2 := os.ReadFile(filepath.Join(fleet, "certs", want))
		if err != nil || err2 != nil || !bytes.Equal(bytes.TrimSpace(live), bytes.TrimSpace(file)) {
			t.Errorf("%s does not have %s: %v, %v", name, want, err, err2)
		}
	}
}

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
