package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// passed is a deadline in the past, in seconds of uptime.
const passed = "1\n"

// due sets the deadline of every armed switch into the past.
func (m *machine) due() {
	m.t.Helper()
	for _, file := range m.glob(m.stateDir() + "/backups/*/host.sh") {
		m.write(filepath.Dir(file)+"/deadline", passed)
	}
}

// timers returns the commands of the transient timers, by name.
func (m *machine) timers() map[string]string {
	m.t.Helper()
	found := map[string]string{}
	for _, file := range m.glob("/unit/timers/*.timer") {
		found[filepath.Base(file)] = strings.TrimSpace(m.read(file))
	}
	return found
}

// tick runs the commands of the timers, and returns what they add to undo.log.
func (m *machine) tick() result {
	m.t.Helper()
	log := m.stateDir() + "/undo.log"
	before := m.readOr(log, "")
	r := result{}
	for name, command := range m.timers() {
		fields := strings.Fields(command)
		if len(fields) != 3 || fields[0] != "/bin/sh" || fields[2] != "timer" {
			m.t.Fatalf("%s runs %q", name, command)
		}
		r.stderr, r.exit = m.unattended(fields[1:]...)
	}
	if added := strings.TrimSpace(strings.TrimPrefix(m.readOr(log, ""), before)); added != "" {
		r.lines = strings.Split(added, "\n")
	}
	return r
}

// unattended runs a stored script like systemd, in a process group whose id is in
// faults/pid.
func (m *machine) unattended(script ...string) (output string, exit int) {
	m.t.Helper()
	cmd := m.stored(script...)
	out, _ := cmd.CombinedOutput() // its status is in ProcessState
	m.gone(cmd)
	return string(out), cmd.ProcessState.ExitCode()
}

func (m *machine) stored(script ...string) *exec.Cmd {
	args := append([]string{"-c", `printf '%s\n' $$ >"$MACHINE/faults/pid"; exec "$@"`, "sh"}, append(append([]string{}, m.shell...), script...)...)
	cmd := m.command("sh", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// gone waits until no process of a killed group is left: a process ends when it is next
// scheduled, and keeps its locks until then.
func (m *machine) gone(cmd *exec.Cmd) {
	m.t.Helper()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); m.lives(cmd.Process.Pid); <-tick.C {
		if time.Now().After(deadline) {
			m.t.Fatal("a killed process still runs")
		}
	}
}

// lives reports whether a process of that group exists and is not a zombie
// (proc_pid_stat(5)).
func (m *machine) lives(group int) bool {
	m.t.Helper()
	if errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) {
		return false
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	m.must(err)
	for _, path := range stats {
		text, _ := os.ReadFile(path) // it may have gone meanwhile
		if f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])); len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" && f[0] != "X" {
			return true
		}
	}
	return false
}

// reboot cuts the power, runs the linked guards whose conditions are met, and starts the
// agent.
func (m *machine) reboot() {
	m.t.Helper()
	m.powerOff()
	starts := m.unit("starts")
	for _, guard := range m.guards() {
		m.boot(guard)
	}
	if m.unit("starts") != starts {
		m.t.Error("a guard has restarted the agent")
	}
	if out, _ := m.command(tools+"/bin/systemctl", "held").Output(); len(out) == 0 {
		m.agentBoots()
	}
}

// powerOff removes the timers, changes the boot id, and ends the agent. It waits for programs
// of a killed script that still hold its lock: a real power cut ends them.
func (m *machine) powerOff() {
	m.t.Helper()
	if dir := m.root + m.stateDir(); len(m.glob(m.stateDir())) > 0 {
		m.must(exec.Command("flock", "-w", "60", dir, "true").Run())
	}
	for name := range m.timers() {
		m.must(os.Remove(m.root + "/unit/timers/" + name))
	}
	m.write("/proc/sys/kernel/random/boot_id", "boot-after-"+m.read("/proc/sys/kernel/random/boot_id"))
	m.state("active=inactive", "sub=dead", "id=")
	if m.packages {
		m.must(os.RemoveAll(m.root + "/run"))
		m.mkdir("/run", 0o755)
		m.must(m.command(tools+"/bin/systemctl", "daemon-reload").Run())
	}
}

// guards returns the guards that a boot reads.
func (m *machine) guards() []string {
	m.t.Helper()
	return m.glob("/etc/systemd/system/multi-user.target.wants/*.service")
}

// agentBoots starts the agent. A boot takes longer than the difference between the clocks
// of files and processes.
func (m *machine) agentBoots() {
	m.t.Helper()
	m.state("active=active", "sub=running", "restarts=0", "id=started-at-boot", "loaded="+m.readOr(m.path, ""),
		fmt.Sprintf("started=%d", m.uptime()+5_000_000))
}

// uptime returns the uptime in microseconds.
func (m *machine) uptime() int64 {
	m.t.Helper()
	text, _, _ := strings.Cut(m.read("/proc/uptime"), " ")
	hundredths, err := strconv.ParseInt(strings.ReplaceAll(text, ".", ""), 10, 64)
	m.must(err)
	return hundredths * 10_000
}

// boot runs one guard unit if its conditions are met, and what follows it. The unit must not
// stay failed, although the guard may have removed the script.
func (m *machine) boot(guard string) {
	m.t.Helper()
	script, loaded := m.guardScript(guard), m.read(guard)
	if script == "" {
		return
	}
	if out, exit := m.unattended(script); exit != 0 || out != "" {
		m.t.Errorf("the guard: exit %d %s", exit, out)
	}
	after := m.stored(script, "stopped")
	after.Env = append(after.Env, "SERVICE_RESULT=success")
	if out, err := after.CombinedOutput(); err != nil && !strings.Contains(loaded, "ExecStopPost=-") {
		m.t.Errorf("after the guard: %v %s", err, out)
	}
}

// guardScript returns the script of a guard unit, or "" if its conditions are not met.
func (m *machine) guardScript(guard string) string {
	m.t.Helper()
	holds, script := false, ""
	for line := range strings.Lines(m.read(guard)) {
		key, text, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ConditionPathExists":
			_, err := os.Stat(strings.TrimPrefix(text, "|"))
			holds = holds || err == nil
		case "ExecStart":
			script = strings.Trim(strings.TrimPrefix(text, "/bin/sh "), `"`)
		}
	}
	if !holds {
		return ""
	}
	return script
}

func (m *machine) glob(pattern string) []string {
	m.t.Helper()
	found, err := filepath.Glob(m.root + pattern)
	m.must(err)
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], m.root)
	}
	return found
}

func (m *machine) readOr(path, otherwise string) string {
	m.t.Helper()
	if text := m.read(path); text != "(none)" {
		return text
	}
	return otherwise
}

// open reports whether a transaction has not ended.
func (m *machine) open() bool { return m.receipts()["pending"]+m.receipts()["undoing"] != "" }

// noBackup checks that a run that was undone, or never started, leaves no certificate.
func (m *machine) noBackup() {
	m.t.Helper()
	if ended := m.receipts(); ended["confirmed"] == firstRun || ended["failed"] == firstRun {
		return
	}
	for _, path := range m.glob(m.stateDir() + "/backups/" + firstRun + "/*") {
		// If there was no file, only the receipt is kept.
		if m.before != "(none)" || filepath.Base(path) != "receipt" {
			m.t.Errorf("%s is left", path)
		}
	}
}

// afterTheTimer checks a host on which only the timer acts, after its deadline.
func (m *machine) afterTheTimer(r result) {
	m.t.Helper()
	open, armed, live := m.open(), len(m.timers()) > 0, m.read(m.path)
	swapped := m.unit("starts") != "0"
	if !armed {
		if open && live != m.before || swapped && open {
			m.t.Errorf("changed without a switch: %q, %v", live, r)
		}
		m.after(r)
		return
	}
	if m.receipts()["pending"] != "" && m.read(m.stateDir()+"/backups/"+firstRun+"/deadline") != passed {
		if quiet := m.tick(); len(quiet.lines) > 0 || quiet.stderr != "" || m.read(m.path) != live {
			m.t.Errorf("a tick before the deadline: %v", quiet)
		}
		m.due()
	}
	tick := m.tick()
	if open {
		m.wants(tick, RolledBack)
		m.noBackup()
		live = m.before
	}
	if got := m.read(m.path); got != live || len(m.timers()) > 0 || tick.stderr != "" {
		m.t.Errorf("the file holds %q: %v", got, tick)
	}
	if used := m.unit("loaded"); m.unit("starts") != "0" && used != m.readOr(m.path, "") {
		m.t.Errorf("the agent uses %q, the file holds %q: %v\nafter %v", used, live, tick, r)
	}
	m.settled()
}

// afterReboot checks a host after a power failure and a later recover.
func (m *machine) afterReboot(r result) {
	m.t.Helper()
	open, live := m.open(), m.read(m.path)
	m.reboot()
	if open {
		live = m.before
	}
	if got := m.read(m.path); got != live {
		m.t.Errorf("after the boot the file holds %q, not %q: %v", got, live, r)
	}
	starts := m.unit("starts")
	back := m.recover()
	if got := back.get("result"); open && got != string(RolledBack) || !open && got != string(Clean) {
		m.t.Errorf("the recovery: %v\nafter %v", back, r)
	}
	if now, _ := strconv.Atoi(m.unit("starts")); live != "(none)" && strconv.Itoa(now) != starts || m.unit("loaded") != m.readOr(m.path, "") {
		m.t.Errorf("the agent was started before: %v", back)
	}
	m.noBackup()
	m.settled()
}
