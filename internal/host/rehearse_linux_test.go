package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rehearsal runs the verb on a machine whose timers fire.
func (m *machine) rehearsal() result {
	m.t.Helper()
	m.write("/unit/fire-timer", "")
	return m.rehearse()
}

func (m *machine) rehearse() result {
	m.t.Helper()
	return m.run("rehearse", m.change(firstRun, newBytes, "hold=180"), noAnswer)
}

// impatient makes a rehearsal wait half a second for the timer, not a minute.
func (m *machine) impatient() {
	m.text = strings.ReplaceAll(m.text, "wait_until=$((up + 6000))", "wait_until=$((up + 50))")
}

// remaining is everything without the empty folders, and the root-only files without a
// key, that an interrupted rehearsal leaves for an hour or a day.
func (m *machine) remaining() string {
	var b strings.Builder
	for line := range strings.Lines(m.everything()) {
		path := strings.Fields(line)[0]
		ours := strings.HasPrefix(path, "/var/lib/aoifleet") || strings.HasPrefix(path, "/etc/systemd/system/multi-user.target.wants")
		if strings.HasSuffix(path, "/boot_id") {
			continue
		}
		if name := filepath.Base(path); ours && (strings.Contains(line, " d") || strings.HasPrefix(name, "staged-") || strings.HasPrefix(name, "rehears")) {
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// fired waits until the timers have ended.
func (m *machine) fired() {
	m.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); m.read("/unit/firing") != "(none)"; <-tick.C {
		if time.Now().After(deadline) {
			m.t.Fatal("a timer still fires")
		}
	}
}

// everything describes all files of the machine, to the times of their inodes; of the
// folders only what is in them.
func (m *machine) everything() string {
	m.t.Helper()
	var b strings.Builder
	for _, path := range m.tree() {
		if strings.HasPrefix(path, "/unit") || strings.HasPrefix(path, "/faults") || path == "/proc/uptime" {
			continue
		}
		info, err := os.Lstat(m.root + path)
		m.must(err)
		fmt.Fprint(&b, path, " ", info.Mode())
		if info.Mode().IsRegular() {
			s := info.Sys().(*syscall.Stat_t)
			fmt.Fprint(&b, " ", s.Ino, s.Uid, s.Gid, s.Mtim, s.Ctim, digest(m.read(path)))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// TestRehearse runs every part of the transaction but the restart, and leaves no trace.
func TestRehearse(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(m *machine){
		"file":              func(*machine) {},
		"no file yet":       (*machine).removeCertificate,
		"in agent's folder": func(m *machine) { m.agentsFolder() },
		"with the helper":   withHelper,
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				prepare(m)
				rehearsed(t, m)
			})
		})
	}
}

func rehearsed(t *testing.T, m *machine) {
	t.Helper()
	before, started := m.everything(), m.unit("starts")
	r := m.rehearsal()
	if r.get("result") != "rehearsed" || len(r.all("error")) > 0 || r.exit != 0 || r.stderr != "" {
		t.Fatalf("the rehearsal failed: %v", r)
	}
	if steps := strings.Join(r.all("step"), " "); steps != "lock check backup arm swap guard timer" {
		t.Errorf("steps: %s", steps)
	}
	if after := m.everything(); after != before {
		t.Errorf("something is left:\n%s\nbefore:\n%s", after, before)
	}
	if m.unit("starts") != started || len(m.timers()) > 0 {
		t.Error("the agent was restarted, or a timer is left")
	}
}

// TestRehearsalRefuses are the faults of a host that a rehearsal finds; the live file is
// untouched, and nothing is left.
func TestRehearsalRefuses(t *testing.T) {
	t.Parallel()
	copied := filepath.Dir(certPath) + "/.aoifleet-rehearsal-" + firstRun
	for name, c := range map[string]struct {
		prepare func(m *machine)
		want    string
	}{
		"guard fails":       {func(m *machine) { m.hook("on-guard", "exit 1") }, "the boot guard did not act"},
		"no guard":          {func(m *machine) { m.state("wanted=") }, "no target wants"},
		"no timer":          {func(m *machine) { m.write("/unit/refuse-timer", "") }, "cannot arm the dead-man switch"},
		"lost timer":        {func(m *machine) { m.write("/unit/lose-timer", "") }, "cannot arm the dead-man switch"},
		"immutable":         {func(m *machine) { m.program("lsattr", `echo "----i---------e------- $3"`) }, "has the attribute ----i"},
		"timer never fires": {(*machine).impatient, "timer did not act"},
		"oneshot":           {func(m *machine) { m.state("type=oneshot") }, "Type=oneshot"},
		"replaced copy":     {func(m *machine) { m.hook("on-guard", "echo agents >$MACHINE"+copied) }, "the boot guard did not"},
		"other attribute": {func(m *machine) {
			m.hook("on-guard", `sh "$text" >/dev/null 2>&1 3>&- 6>&-; chmod 604 "$MACHINE`+copied+`"; exit`)
		}, "its mode is 604, not 640"},
		"new file's attributes": {func(m *machine) {
			m.program("cp", `case $* in *--no-preserve=timestamps\ --attributes-only*) exit 0 ;; esac; exec /bin/cp "$@"`)
		}, "the new file would not be like the old one: its mode is 644, not 640"},
		"locked": {func(m *machine) { m.save(secondRun, "pending") }, "run recover"},
	} {
		t.Run(name, func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			m := newMachine(t)
			c.prepare(m)
			before, started := m.remaining(), m.unit("starts")
			r := m.rehearse() // no timer fires
			if r.get("result") != string(Refused) || len(r.all("error")) != 1 || !strings.Contains(r.get("error"), c.want) {
				t.Errorf("want %q: %v", c.want, r)
			}
			if after := m.remaining(); after != before || m.unit("starts") != started {
				t.Errorf("something has changed:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// TestRehearsalKilled kills the script before each command that changes something. The
// live file is untouched, the agent is not restarted, and the timer or recover removes
// everything. make test kills it before one of 24, make matrix before one of three.
func TestRehearsalKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.faults = tools + "/counted"
	if r := m.rehearsal(); r.get("result") != "rehearsed" {
		t.Fatalf("%v", r)
	}
	cases, times := 0, map[string]int{}
	for call := range strings.Lines(m.read("/faults/calls")) {
		times[strings.Fields(call)[1]]++
	}
	for _, command := range strings.Fields("cp ln mkdir mv rm rmdir sync systemctl systemd-run") {
		for n := range times[command] {
			if cases++; !inSample(cases) {
				continue
			}
			t.Run(fmt.Sprint(command, " ", n+1), func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				before, started := m.remaining(), m.unit("starts")
				m.faults = tools + "/one/" + command
				m.write("/faults/plan", fmt.Sprintln(n+1, "killed-before"))
				r := m.rehearsal()
				m.write("/faults/plan", "none\n")
				m.faults = ""
				if n%2 == 1 {
					for timer := range m.timers() {
						m.must(os.Remove(m.root + "/unit/timers/" + timer))
					}
					m.fired() // what a timer has begun
					m.reboot()
				}
				back := m.recover()
				for back.get("result") == string(Refused) && strings.Contains(back.get("error"), "locked") { // the timer is at work
					back = m.recover()
				}
				if e := back.get("result"); e != string(Clean) {
					t.Errorf("recovery: %v\nafter %v", back, r)
				}
				m.fired()
				if after := m.remaining(); after != before || m.unit("starts") != started {
					t.Errorf("something is left:\n%s\nbefore:\n%s\nafter %v\n%v", after, before, r, back)
				}
			})
		}
	}
}

// program puts a program before the others on PATH.
func (m *machine) program(name, text string) {
	m.mkdir("/programs", 0o755)
	m.write("/programs/"+name, "#!/bin/sh\n"+text+"\n")
	m.must(os.Chmod(m.root+"/programs/"+name, 0o755))
	m.faults = m.root + "/programs:" + tools + "/bin"
}

// TestRehearsalTellsHowTheLogIsWritten with a real process that has the log open.
func TestRehearsalTellsHowTheLogIsWritten(t *testing.T) {
	t.Parallel()
	for flags, want := range map[int]string{os.O_APPEND: "the agent appends to its log", 0: "without O_APPEND", -1: "no process of"} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			cmd := exec.Command("sleep", "300")
			if flags >= 0 {
				log, err := os.OpenFile(m.root+logPath, os.O_WRONLY|flags, 0)
				m.must(err)
				defer log.Close()
				cmd.Stdout = log
			}
			m.must(cmd.Start())
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}()
			pid := strconv.Itoa(cmd.Process.Pid)
			m.must(os.Symlink("/proc/"+pid, m.root+"/proc/"+pid))
			m.state("pid=" + pid)
			if r := m.rehearsal(); r.get("result") != "rehearsed" || len(r.all("note")) != 1 || !strings.Contains(r.get("note"), want) {
				t.Errorf("want %q: %v", want, r)
			}
		})
	}
}
