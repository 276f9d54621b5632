package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func setFaults(t testing.TB, m *Machine, lines ...string) {
	t.Helper()
	if err := m.SetFault(lines...); err != nil {
		t.Fatal(err)
	}
}

func TestNotWanted(t *testing.T) {
	_, m := startOne(t, Options{})
	setFaults(t, m, "not-wanted")
	if r := onHost(t, m, "systemctl show -p WantedBy,UnitFileState "+Unit); r.stdout != "WantedBy=\nUnitFileState=enabled\n" {
		t.Errorf("%+v", r)
	}
}

func TestTimerFaults(t *testing.T) {
	_, m := startOne(t, Options{})
	tests := map[string]struct {
		fault string
		want  result
	}{
		"fails": {"timer-fails Failed to start transient timer unit: Access denied", result{stdout: "1\nActiveState=inactive\n", stderr: "Failed to start transient timer unit: Access denied\n"}},
		"dead":  {"timer-dead", result{stdout: "0\nActiveState=inactive\n"}},
	}
	for name, tt := range tests {
		setFaults(t, m, tt.fault)
		got := onHost(t, m, "systemd-run -q --unit=u --on-active=600 /bin/sh x; echo $?", "systemctl show u.timer -p ActiveState")
		if got != tt.want || len(m.Timers()) != 0 {
			t.Errorf("%s: %+v, want %+v; timers %v", name, got, tt.want, m.Timers())
		}
	}
}

// Stopping a timer does not stop the service that it has started.
func TestStoppedTimer(t *testing.T) {
	_, m := startOne(t, Options{})
	r := onHost(t, m,
		"mkfifo $ROOT/tmp/fifo",
		"systemd-run -q --unit=u --on-active=1 --on-unit-active=15 /bin/sh -c 'echo > '$ROOT'/tmp/began; read line < '$ROOT'/tmp/fifo; echo $line > '$ROOT'/tmp/got'",
		"systemctl show -p LoadState,ActiveState u.timer",
		"until [ -e $ROOT/tmp/began ]; do sleep 0.02; done",
		"systemctl stop u.timer; systemctl show -p LoadState,ActiveState u.timer",
		"echo on >$ROOT/tmp/fifo")
	if r.stdout != "LoadState=loaded\nActiveState=active\nLoadState=not-found\nActiveState=inactive\n" {
		t.Errorf("%+v", r)
	}
	eventually(t, "the service goes on", func() bool { return m.read("/tmp/got") == "on\n" })
}

func TestRebootOn(t *testing.T) {
	tests := map[string]struct{ fault, stdout string }{
		"from the host":   {"reboot-on out:ready", "ready"},
		"from the client": {`reboot-on in:"confirm RUN\n"`, "ready\n"},
		"either":          {"reboot-on confirm RUN", "ready\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, m := startOne(t, Options{})
			client := mustDial(t, m)
			setFaults(t, m, tt.fault)
			boot := m.BootID()
			c := begin(t, client, "sudo -n sh -s", hostScript("trap '' PIPE HUP TERM; echo ready", "read -r line; echo \"$line\" >$ROOT/tmp/seen", "exit"))
			eventually(t, "it is ready", func() bool { return strings.HasPrefix(tt.stdout, c.stdout.String()) && c.stdout.String() != "" })
			_, _ = io.WriteString(c.stdin, "confirm RUN\n")
			var lost *ssh.ExitMissingError
			if err := c.session.Wait(); !errors.As(err, &lost) || c.stdout.String() != tt.stdout {
				t.Errorf("the client has %v, saw %q", err, c.stdout.String())
			}
			awaitBoot(t, m)
			if m.BootID() == boot || m.read("/tmp/seen") != "" {
				t.Errorf("boot id %s, then %s; the script saw %q", boot, m.BootID(), m.read("/tmp/seen"))
			}
			boot = m.BootID()
			if r := mustRun(t, m, "cat; echo ready", "confirm RUN\n"); r.stdout != "confirm RUN\nready\n" || m.BootID() != boot {
				t.Errorf("more than once: %+v", r)
			}
		})
	}
}

func TestKillOn(t *testing.T) {
	f, m := startOne(t, Options{})
	for _, fault := range []string{"kill-on out:ready", `kill-on in:"go\n"`} {
		setFaults(t, m, fault)
		c := begin(t, mustDial(t, m), "sudo -n sh -s", hostScript("trap 'echo x >$ROOT/tmp/seen' TERM HUP EXIT",
			"timeout 600 sh -c 'echo $$ >'$ROOT'/tmp/aside; sleep 600' >/dev/null 2>&1 & until [ -s $ROOT/tmp/aside ]; do sleep 0.02; done",
			"echo ready; read -r line; echo $line >$ROOT/tmp/seen"))
		eventually(t, "it is ready", func() bool { return c.stdout.String() != "" })
		_, _ = io.WriteString(c.stdin, "go\n")
		var exit *ssh.ExitError
		if err := c.session.Wait(); !errors.As(err, &exit) || exit.Signal() != "KILL" {
			t.Errorf("%s: %v", fault, err)
		}
		if m.read("/tmp/seen") != "" {
			t.Errorf("%s: it saw %q", fault, m.read("/tmp/seen"))
		}
		if dead(m.read("/tmp/aside")) { // a process group of its own
			t.Errorf("%s: timeout(1) was killed too", fault)
		}
		if r := mustRun(t, m, "cat; echo ready", "go\n"); r.stdout != "go\nready\n" {
			t.Errorf("%s: more than once: %+v", fault, r)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if pids := marked(m.mark()); len(pids) != 0 {
		t.Errorf("left after Close: %v", pids)
	}
}

func TestSSHDRestartOn(t *testing.T) {
	_, m := startOne(t, Options{})
	listener := func() net.Listener {
		m.listening.Lock()
		defer m.listening.Unlock()
		return m.listener
	}
	before := listener()
	client := mustDial(t, m)
	setFaults(t, m, "sshd-restart-on confirm")
	for i := range 2 {
		if r, err := run(client, "cat", "confirm\n"); err != nil || r.stdout != "confirm\n" {
			t.Errorf("the connection: %+v, %v", r, err)
		}
		after := listener()
		if restarted := after != before; restarted != (i == 0) || after == nil {
			t.Errorf("time %d: restarted %v", i, restarted)
		}
		before = after
		mustDial(t, m)
	}
}

func TestSudoRevokedOn(t *testing.T) {
	_, m := startOne(t, Options{})
	setFaults(t, m, "sudo-revoked-on out:armed")
	// The script continues as root; only a new sudo is refused.
	c := begin(t, mustDial(t, m), "sudo -n sh -s", hostScript("echo armed; read -r line; id -u; sudo -n id -u 2>&1; exit"))
	eventually(t, "it is armed", func() bool { return c.stdout.String() == "armed\n" })
	// The client gets the text before the fault takes effect.
	eventually(t, "sudo is replaced", func() bool { _, err := os.Lstat(filepath.Join(m.programs(), "sudo")); return err == nil })
	refusal := LoginUser + " is not in the sudoers file.  This incident will be reported.\n"
	for range 2 {
		if r := mustRun(t, m, "sudo -n sh -s", "echo no\n"); r != (result{stderr: refusal, status: 1}) {
			t.Errorf("%+v", r)
		}
	}
	_, _ = io.WriteString(c.stdin, "line\n")
	err := c.session.Wait()
	var exit *ssh.ExitError
	if want := "armed\n" + strconv.Itoa(os.Getuid()) + "\n" + refusal; !errors.As(err, &exit) || c.stdout.String() != want {
		t.Errorf("%q, %v", c.stdout.String(), err)
	}
	setFaults(t, m)
	if r := onHost(t, m, "echo root"); r.stdout != "root\n" {
		t.Errorf("without fault: %+v", r)
	}
}

// The output of date on a machine whose clock has jumped equals that of the real
// date for the intended time.
func TestClockJump(t *testing.T) {
	_, m := startOne(t, Options{})
	file := m.inRoot("/tmp/file")
	then := time.Unix(1_700_000_000, 0)
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, then, then)); err != nil {
		t.Fatal(err)
	}
	at := func(layout string) func(time.Time) string {
		return func(now time.Time) string { return now.UTC().Format(layout) }
	}
	tests := map[string]func(now time.Time) string{ // arguments: output
		"-u +%Y-%m-%dT%H":                     at("2006-01-02T15"),
		"--utc +%F":                           at("2006-01-02"),
		"-u -d now +%FT%H":                    at("2006-01-02T15"),
		"-u -d '-90 days' +%Y%m%d":            func(now time.Time) string { return now.Add(-90 * day).UTC().Format("20060102") },
		"-u --date='90 days ago' +%Y%m%d":     func(now time.Time) string { return now.Add(-90 * day).UTC().Format("20060102") },
		"-u -d yesterday +%FT%H":              func(now time.Time) string { return now.Add(-day).UTC().Format("2006-01-02T15") },
		"-ud '+1 hour' +%FT%H":                func(now time.Time) string { return now.Add(time.Hour).UTC().Format("2006-01-02T15") },
		"-u -d 12:34 '+%F %T'":                func(now time.Time) string { return now.UTC().Format(time.DateOnly) + " 12:34:00" },
		"-u -d '00:00 yesterday' '+%F %T'":    func(now time.Time) string { return now.Add(-day).UTC().Format("2006-01-02 00:00:00") },
		"-u -d '' '+%F %T'":                   at("2006-01-02 00:00:00"),
		"-d @123 +%s":                         func(time.Time) string { return "123" },
		"+%s -d@123":                          func(time.Time) string { return "123" },
		"--date @123 +%s":                     func(time.Time) string { return "123" },
		"-u -d '2001-02-03 04:05' +%FT%T":     func(time.Time) string { return "2001-02-03T04:05:00" },
		"-u -d 20010203 +%F":                  func(time.Time) string { return "2001-02-03" },
		"-u -d '2001-02-03T04:05:06Z' +%s":    func(time.Time) string { return "981173106" },
		"-u -d '2001-02-03 UTC -1 day' +%F":   func(time.Time) string { return "2001-02-02" },
		"-r " + file + " +%s":                 func(time.Time) string { return "1700000000" },
		"-d nonsense +%s 2>/dev/null || echo": func(time.Time) string { return "" },
	}
	for _, jump := range []string{"", "50h", "-100h"} {
		ahead, _ := time.ParseDuration(jump)
		if setFaults(t, m); jump != "" {
			setFaults(t, m, "clock-jump "+jump)
		}
		for arguments, want := range tests {
			before := want(time.Now().Add(ahead))
			got := strings.TrimSuffix(onHost(t, m, "date "+arguments).stdout, "\n")
			if after := want(time.Now().Add(ahead)); got != before && got != after {
				t.Errorf("%s: date %s: %q, want %q", jump, arguments, got, after)
			}
		}
		for format, unit := range map[string]time.Duration{"+%s": time.Second, "+%s%2N": 10 * time.Millisecond, "+%s%N": time.Nanosecond} {
			before := time.Now().Add(ahead).Truncate(unit)
			n, err := strconv.ParseInt(strings.TrimSpace(onHost(t, m, "date "+format).stdout), 10, 64)
			got := time.Unix(0, n*int64(unit))
			if after := time.Now().Add(ahead); err != nil || got.Before(before) || got.After(after) {
				t.Errorf("%s: date %s: %v, %v, want %v to %v", jump, format, got, err, before, after)
			}
		}
	}
}

// A stored script and a running script use the current clock.
func TestClockJumpsUnderScript(t *testing.T) {
	_, m := startOne(t, Options{})
	c := begin(t, mustDial(t, m), "sh -s", hostScript("echo $PATH; read -r line; date -u +%Y; exit"))
	eventually(t, "it runs", func() bool { return strings.HasSuffix(c.stdout.String(), "\n") })
	path := c.stdout.String()
	setFaults(t, m, "clock-jump 87600h") // ten years
	_, _ = io.WriteString(c.stdin, "\n")
	want := fmt.Sprintln(time.Now().Add(87600 * time.Hour).UTC().Year())
	if err := c.session.Wait(); err != nil || c.stdout.String() != path+want {
		t.Errorf("%q, %v, want the year %s", c.stdout.String(), err, want)
	}
}

func TestImmutable(t *testing.T) {
	_, m := startOne(t, Options{})
	folder := filepath.Dir(m.inRoot(CertificatePath))
	tests := map[string]string{ // command, in the certificate's folder: output
		"mv -T -- ../../../tmp/new dp.p12":       "mv: cannot move '../../../tmp/new' to 'dp.p12'",
		"mv -T -- $ROOT/tmp/new $PWD/dp.p12":     "mv: cannot move",
		"mv dp.p12 $ROOT/tmp/gone":               "mv: cannot move 'dp.p12'",
		"cp -a -- $ROOT/tmp/new dp.p12":          "cp: cannot create regular file 'dp.p12'",
		"cp $ROOT/tmp/new ..":                    "cp: cannot create regular file '..'",
		"cp $ROOT/tmp/new $ROOT/tmp/link":        "cp: cannot create regular file",
		"ln -sfT -- $ROOT/tmp/new ../config.yml": "ln: cannot create link '../config.yml'",
		"rm -f -- $ROOT/tmp/new dp.p12":          "rm: cannot remove 'dp.p12'",
		"rm -f -- none .aoifleet-*":              "",
		"cp -- dp.p12 $ROOT/tmp/copy":            "",
		"mv -T -- $ROOT/tmp/new $ROOT/tmp/newer": "",
		"ln -s dp.p12 $ROOT/tmp/other":           "",
		"cd $ROOT/tmp && rm -f -- new":           "",
	}
	for command, message := range tests {
		setFaults(t, m)
		if r := onHost(t, m, "cd $ROOT/tmp && rm -f -- * && echo new >new && ln -s "+folder+"/dp.p12 link"); r.status != 0 {
			t.Fatalf("%+v", r)
		}
		setFaults(t, m, "immutable")
		r := onHost(t, m, "cd "+folder+" || exit", command)
		if message == "" && r != (result{}) {
			t.Errorf("%s: %+v", command, r)
		}
		if message != "" && (r.status != 1 || !strings.HasPrefix(r.stderr, message) || !strings.HasSuffix(r.stderr, ": Operation not permitted\n")) {
			t.Errorf("%s: %+v", command, r)
		}
		entries, err := os.ReadDir(filepath.Dir(folder))
		if m.LiveThumbprint() != m.fleet.OldThumbprint() || err != nil || len(entries) != 3 {
			t.Errorf("%s changed something: %v, %v", command, entries, err)
		}
	}
	setFaults(t, m)
	if r := onHost(t, m, "rm -- $ROOT"+CertificatePath); r.status != 0 || m.LiveThumbprint() != "" {
		t.Errorf("without fault: %+v", r)
	}
}

// The script may contain its own text in single quotes.
func TestBlockHasNoQuote(t *testing.T) {
	_, m := startOne(t, Options{})
	setFaults(t, m, "missing-tool awk", "disk-full", "sudo-password", "immutable", "noise it's")
	if block, err := m.block(); err != nil || strings.ContainsAny(block, `'"\`) {
		t.Errorf("%q, %v", block, err)
	}
	setFaults(t, m)
	text := "\n" + hostScript("echo $ROOT") // no single quote in it
	r := mustRun(t, m, "sh -s", "self='"+text+"'\neval \"$self\"\nprintf '%s' \"$self\" | sh; "+text)
	if want := strings.Repeat(m.Root+"\n", 3); r.stdout != want {
		t.Errorf("%+v, want %q", r, want)
	}
}

// The same text may trigger several faults.
func TestFaultsOnOneText(t *testing.T) {
	_, m := startOne(t, Options{})
	client := mustDial(t, m)
	setFaults(t, m, "sudo-revoked-on out:armed", "sshd-restart-on out:arm", "cut-on out:armed")
	if r, err := run(client, "echo armed; echo more", ""); err == nil || r.stdout != "armed" {
		t.Errorf("not cut: %+v, %v", r, err)
	}
	if r := mustRun(t, m, "sudo -n true", ""); r.status != 1 {
		t.Errorf("sudo is not revoked: %+v", r)
	}
}
