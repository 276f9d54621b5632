//go:build linux

package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxHosts is the number of addresses, see newHost.
const maxHosts = 1000

// Host is one real host of a fleet. Its methods may be called from several
// goroutines; the caller must not power it off while another goroutine uses it.
type Host struct {
	Name    string
	Release string
	Addr    string // loopback address inside the fleet's network namespace
	Port    int
	User    string // login user with passwordless sudo; logs in with Fleet.IdentityFile, as does root
	Root    string // the host's root directory, as a path of this machine

	fleet   *Fleet
	machine *machine
	hostKey []byte // public ed25519 key, a line of authorized_keys
}

func (f *Fleet) newHost(i int, spec Spec) *Host {
	dir := filepath.Join(f.Dir, "hosts", spec.Name)
	h := &Host{
		Name:    spec.Name,
		Release: spec.Release,
		Addr:    fmt.Sprintf("127.0.%d.%d", 10+i/250, 1+i%250),
		Port:    22,
		User:    loginUser,
		Root:    filepath.Join(dir, "root"),
		fleet:   f,
	}
	h.machine = newMachine(f.session.name, i, h)
	return h
}

// firstBoot starts the host and waits until it has booted.
func (h *Host) firstBoot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := h.Start(ctx); err != nil {
		return err
	}
	_, err := h.Settle(ctx)
	return err
}

// Start switches the host on and waits until its sshd answers.
func (h *Host) Start(ctx context.Context) error {
	boots := h.Boots()
	if err := h.machine.start(); err != nil {
		return err
	}
	return h.WaitBoot(ctx, boots+1)
}

// PowerOff shuts the host down in an orderly way and waits until it is off.
func (h *Host) PowerOff(ctx context.Context) error {
	if err := h.systemctl(ctx, "poweroff"); err != nil {
		return err
	}
	return h.machine.waitOff(ctx)
}

// PowerCut cuts the host's power: every process ends at once, and nothing more is
// written. Data written before, synced or not, is on the disk.
func (h *Host) PowerCut(ctx context.Context) error {
	if err := h.machine.cut(); err != nil {
		return err
	}
	return h.machine.waitOff(ctx)
}

// Reboot restarts the host in an orderly way and waits until its sshd answers again.
func (h *Host) Reboot(ctx context.Context) error {
	boots := h.Boots()
	if err := h.systemctl(ctx, "reboot"); err != nil {
		return err
	}
	return h.WaitBoot(ctx, boots+1)
}

// systemctl runs a systemctl verb that shuts the host down. The host may kill
// systemctl before it returns, by a signal that sh may report as a number above 128:
// that is success.
func (h *Host) systemctl(ctx context.Context, verb string) error {
	_, err := h.Shell(ctx, "systemctl --no-block "+verb)
	var exit *exec.ExitError
	if ctx.Err() == nil && errors.As(err, &exit) && (!exit.Exited() || exit.ExitCode() > 128) {
		return nil
	}
	return err
}

// Running reports whether the host is on.
func (h *Host) Running() bool {
	running, _, _ := h.machine.state()
	return running
}

// Boots returns the number of starts of the host, including reboots from inside.
func (h *Host) Boots() int {
	_, boots, _ := h.machine.state()
	return boots
}

// WaitBoot waits until the host has been started n times and its sshd answers.
// It fails as soon as the host is off. Units that are not ordered before sshd
// may still be starting: see Settle.
func (h *Host) WaitBoot(ctx context.Context, n int) error {
	for {
		running, boots, changed := h.machine.state()
		if boots >= n && running {
			break
		}
		if !running {
			return errors.Join(h.machine.lastError(), fmt.Errorf("%s is off after %d boots: %s", h.Name, boots, h.Console()))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for boot %d of %s: %w: %s", n, h.Name, ctx.Err(), h.Console())
		}
	}
	return h.waitGreeting(ctx)
}

// waitGreeting polls until sshd has sent its version line.
func (h *Host) waitGreeting(ctx context.Context) error {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		err := h.greeting(ctx)
		if err == nil {
			return nil
		}
		_, _, changed := h.machine.state()
		if !h.Running() {
			return fmt.Errorf("%s went off while booting: %s", h.Name, h.Console())
		}
		select {
		case <-tick.C:
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for sshd of %s: %w, last %w: %s", h.Name, ctx.Err(), err, h.Console())
		}
	}
}

func (h *Host) greeting(ctx context.Context) error {
	conn, err := h.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	start := make([]byte, len("SSH-"))
	if _, err := conn.Read(start); err != nil {
		return err
	}
	if string(start) != "SSH-" {
		return fmt.Errorf("greeting begins with %q", start)
	}
	return nil
}

// Settle waits until the boot is complete and returns systemd's state: running,
// degraded (a unit has failed), or another state of systemctl(1)
// is-system-running.
func (h *Host) Settle(ctx context.Context) (string, error) {
	out, err := h.Shell(ctx, "systemctl is-system-running --wait || :")
	return strings.TrimSpace(out), err
}

// Shell runs a command line with sh as root on the host, in / and with an empty
// standard input, and returns its standard output. It does not need the host's
// network or sshd. The error of a failed command includes its standard error.
func (h *Host) Shell(ctx context.Context, command string) (string, error) {
	leader, err := h.machine.leader()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--target", leader,
		"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"/bin/sh", "-c", command)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
	// nsenter forks to enter the process namespace: kill both.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: run %q: %w: %s", h.Name, command, err, tail(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// View returns the host's root directory as the host sees it, with all its mounts,
// as a path of this machine. The path is valid until the end of this boot.
func (h *Host) View() (string, error) {
	leader, err := h.machine.leader()
	if err != nil {
		return "", err
	}
	return "/proc/" + leader + "/root", nil
}

// Console returns the end of the host's output during boot and shutdown.
func (h *Host) Console() string { return readTail(h.machine.console) }
