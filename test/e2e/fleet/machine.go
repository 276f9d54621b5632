//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// exitReboot is the exit status of systemd-nspawn --keep-unit for a reboot of the
// machine (EXIT_FORCE_RESTART in systemd's nspawn.c).
const exitReboot = 133

// machine is the hardware of a host: power on, power off, and the start after
// a reboot.
type machine struct {
	name    string // NAME-N: unique on this machine
	fleet   string // name of the network namespace and of the cgroup
	host    string
	root    string
	console string

	mu      sync.Mutex
	nspawn  *exec.Cmd // nil: off
	cgroup  string    // of the current boot
	boots   int
	retired bool // the fleet is closing: the machine stays off
	// rebootErr is the error of the start after a reboot.
	rebootErr error
	changed   chan struct{} // closed at the next change, then replaced
	running   sync.WaitGroup
}

func newMachine(fleet string, i int, h *Host) *machine {
	return &machine{
		name:    fmt.Sprintf("%s-%d", fleet, i),
		fleet:   fleet,
		host:    h.Name,
		root:    h.Root,
		console: filepath.Join(filepath.Dir(h.Root), "console"),
		changed: make(chan struct{}),
	}
}

// start starts the machine, which then also survives its own reboots.
func (m *machine) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nspawn != nil {
		return fmt.Errorf("%s is already on", m.host)
	}
	cmd, err := m.boot()
	if err != nil {
		return err
	}
	m.running.Go(func() { m.supervise(cmd) })
	return nil
}

// supervise waits for the end of the machine, and boots it again after a reboot.
func (m *machine) supervise(cmd *exec.Cmd) {
	for cmd != nil {
		_ = cmd.Wait() // any end except a reboot is a power off
		reboot := cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == exitReboot
		cmd = m.ended(reboot)
	}
}

// ended records that the machine is off and returns its next boot, if any.
func (m *machine) ended(reboot bool) *exec.Cmd {
	m.mu.Lock()
	defer m.mu.Unlock()
	if reboot && !m.retired {
		cmd, err := m.boot()
		if err == nil {
			return cmd
		}
		m.rebootErr = err
	}
	m.nspawn = nil
	m.change()
	return nil
}

// boot runs systemd-nspawn. Called with mu held.
func (m *machine) boot() (*exec.Cmd, error) {
	if m.retired {
		return nil, errors.New("the fleet is closed")
	}
	console, err := os.OpenFile(m.console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	// With --keep-unit systemd-nspawn divides its own cgroup, so two boots can't share
	// one.
	cgroup, err := openCgroup(m.fleet, fmt.Sprintf("%s-boot-%d", m.host, m.boots+1))
	if err != nil {
		return nil, err
	}
	defer cgroup.Close()
	cmd := exec.Command("systemd-nspawn", "--quiet", "--boot", "--settings=no",
		"--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--private-users=no",
		"--directory="+m.root, "--machine="+m.name, "--hostname="+m.host,
		"--network-namespace-path=/run/netns/"+m.fleet, "--console=passive")
	// Only cgroup2, whatever the machine has mounted: every host then
	// has its own part of one hierarchy.
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m.nspawn, m.cgroup = cmd, cgroup.Name()
	m.boots++
	m.change()
	return cmd, nil
}

// change wakes all goroutines that wait for a change. Called with mu held.
func (m *machine) change() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// state returns the current state, with a channel that is closed at its next change.
func (m *machine) state() (running bool, boots int, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nspawn != nil, m.boots, m.changed
}

// waitOff waits until the machine is off; a reboot does not count.
func (m *machine) waitOff(ctx context.Context) error {
	for {
		running, _, changed := m.state()
		if !running {
			return m.lastError()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s is off: %w", m.host, ctx.Err())
		}
	}
}

// lastError returns the error because of which the machine is off.
func (m *machine) lastError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rebootErr
}

// cut kills every process of the machine at once. systemd-nspawn runs outside and
// notices it.
func (m *machine) cut() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nspawn == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(m.cgroup, "payload", "cgroup.kill"), []byte("1"), 0)
}

// retire prevents further starts of the machine.
func (m *machine) retire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = true
}

// wait returns when the machine is permanently off.
func (m *machine) wait() { m.running.Wait() }

// leader returns the process id, on this machine, of the host's systemd.
func (m *machine) leader() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nspawn == nil {
		return "", fmt.Errorf("%s is off", m.host)
	}
	pid := strconv.Itoa(m.nspawn.Process.Pid)
	children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	if err != nil {
		return "", err
	}
	for _, child := range strings.Fields(string(children)) {
		if isInit(child) {
			return child, nil
		}
	}
	return "", fmt.Errorf("%s has not begun to boot", m.host)
}

// isInit reports whether a process is the first one of a process namespace:
// the last number of its NSpid, see proc(5), is 1.
func isInit(pid string) bool {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if numbers, found := strings.CutPrefix(line, "NSpid:"); found {
			fields := strings.Fields(numbers)
			return len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return false
}
