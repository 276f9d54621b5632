package host

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// TestWatch covers the agent's behaviour after its restart, by the number of calls of
// systemctl show ($shows), not by time. $starts is 1 for the new file, 2 for the undo.
func TestWatch(t *testing.T) {
	t.Parallel()
	const started = "log INFO agent: started\n"
	for name, c := range map[string]struct {
		restart, show, values string
		ending                Ending
		message               string // of the error
	}{
		"dies later": {started, "[ $starts$shows != 12 ] || { log INFO last words; active=failed sub=failed failure=signal; }", "window=2", RolledBack, "the unit is failed (signal)"},
		"exits 0":    {started, "[ $starts$shows != 12 ] || { active=inactive sub=dead; }", "window=2", RolledBack, "the unit is inactive (success)"},
		"auto-restart": {started, "[ $starts != 1 ] || { active=activating sub=auto-restart failure=exit-code; }", "window=0", RolledBack,
			"the agent exits and is started again (exit-code)"},
		"restarts counted":            {started, "[ $starts != 1 ] || restarts=1", "window=0", RolledBack, "the agent exits and is started again"},
		"restarts grow":               {started, "[ $starts$shows != 12 ] || { log INFO last words; restarts=1; }", "window=2", RolledBack, "the agent exits and is started again"},
		"another invocation":          {started, "[ $starts$shows != 12 ] || { log INFO last words; id=other; }", "window=2", RolledBack, "the agent exits and is started again"},
		"slow start":                  {started, "[ $starts != 1 ] || case $shows in [12]) active=activating sub=start;; *) active=active sub=running;; esac", "window=0", Rotated, ""},
		"started never":               {started, "[ $starts != 1 ] || { active=activating sub=start; }", "timeout=4", RolledBack, "the unit is still activating"},
		"not restarted":               {"[ $starts != 1 ] || id=before", "", "window=0", RolledBack, "the agent was not restarted"},
		"restart fails":               {"[ $starts != 1 ] || { printf 'Job failed\\nSee journal\\n' >&2; exit 1; }", "", "expect=never", RolledBack, "systemctl restart failed: Job failed"},
		"restart hangs":               {"[ $starts != 1 ] || { keep; exec sleep 20; }", "", "timeout=3", RolledBack, "systemctl restart did not return within 3s"},
		"port late":                   {started, "[ $shows != 3 ] || listen 36001", "port=36001", Rotated, ""},
		"port never":                  {started, "[ $starts != 2 ] || listen 36001", "port=36001", RolledBack, "nothing listens on port 36001"},
		"other ports, that one never": {started + "listen 3600; listen 6001; listen 36002", "[ $starts != 2 ] || listen 36001", "port=36001", RolledBack, "nothing listens on port 36001"},
		"expected late":               {started, "[ $shows != 3 ] || log INFO upload: done", "expect=upload: (done|ok)$", Rotated, ""},
		"expected never":              {started, "[ $starts != 2 ] || log INFO upload: done", "expect=upload: done", RolledBack, "the log does not say: upload: done"},
		"denied late":                 {started, "[ $starts$shows != 12 ] || log ERROR AADSTS7000222 expired", "window=2", RolledBack, "the log says: "},
		"cannot load":                 {"[ $starts != 1 ] || log 'ERROR cannot load the PKCS12 file'", "", "window=0", RolledBack, "cannot load the PKCS12 file"},
		"in colour":                   {"[ $starts != 1 ] || log \"$(printf '\\033[31mERROR\\033[0m AAD\\033[1mSTS\\033[0m50')\"", "", "window=0", RolledBack, "ERROR AADSTS50"},
		"own pattern":                 {"[ $starts != 1 ] || log 'WARN * quota [x] used up'", "", "deny=\\* quota \\[x\\]", RolledBack, "WARN * quota [x] used up"},
		"other errors":                {"log ERROR sink: 503, retrying", "", "window=0", Rotated, ""},
		"long line":                   {"[ $starts != 1 ] || log \"AADSTS1 $(head -c 200000 /dev/zero | tr '\\0' x)\"", "", "window=0", RolledBack, "AADSTS1 xxx"},
		"first of many lines":         {"[ $starts != 1 ] || { log AADSTS1 one; log AADSTS1 two; }", "", "window=0", RolledBack, "AADSTS1 one"},
	} {
		t.Run(name, func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			m := newMachine(t)
			m.hook("on-restart", c.restart)
			m.hook("on-show", c.show)
			timeout := "timeout=30"
			if strings.HasSuffix(name, "never") {
				timeout = "timeout=4"
			}
			r := m.rotate(firstRun, newBytes, timeout, c.values)
			m.wants(r, c.ending)
			m.wantsError(r, c.message)
			// What the agent has written since the last look but one.
			if strings.Contains(c.show, "last words") && !strings.Contains(strings.Join(r.all("evidence"), "\n"), "last words") {
				t.Errorf("no evidence of the agent's last words: %v", r)
			}
			for _, line := range r.lines {
				if len(line) > 10000 {
					t.Errorf("a line of %d bytes", len(line))
				}
			}
			if c.ending == RolledBack && m.read(certPath) != oldBytes {
				t.Error("not restored")
			}
			m.settled()
		})
	}
}

// TestMachineThatStalls through the window has not been watched: one more check follows.
// Here only the clock stalls.
func TestMachineThatStalls(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-show", `case $starts$shows in
11)
	read -r up _ <"$MACHINE/proc/uptime"
	rm "$MACHINE/proc/uptime"
	echo "$((${up%.*} + 9)).00 0.00" >"$MACHINE/proc/uptime"
	;;
12) active=failed sub=failed ;;
esac`)
		m.hook("on-restart", `[ $starts != 2 ] || ln -sf /proc/uptime "$MACHINE/proc/uptime"`)
		r := m.rotate(firstRun, newBytes, "window=2")
		m.wants(r, RolledBack)
		m.wantsError(r, "the unit is failed")
	})
}

// TestMachineThatStallsBetweenTwoClocks: the start of the agent needs both clocks, read at
// one time. The first reading is spoilt, or all are: then the process must seem older, not
// younger.
func TestMachineThatStallsBetweenTwoClocks(t *testing.T) {
	t.Parallel()
	for name, spoilt := range map[string]string{"once": "[ ! -e $ROOT/stalled ] || return 0", "always": ""} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.passed(1)
				m.state("started=5000000")
				m.text += `
date() {
	command date "$@"
	` + spoilt + `
	: >"$ROOT/stalled"
	read -r up _ <"$ROOT/proc/uptime"
	echo "$((${up%.*} + 3)).00 0.00" >"$ROOT/proc/uptime"
}
`
				o, _, err := m.look(inventory.Agent{CertificatePath: certPath}, "path="+certPath)
				m.must(err)
				var up float64
				_, err = fmt.Sscan(m.read("/proc/uptime"), &up)
				m.must(err)
				want := o.Clock.Add(5*time.Second - time.Duration(up*float64(time.Second)))
				if off := o.Unit.Started.Sub(want); off < -50*time.Millisecond || off > 50*time.Millisecond {
					t.Errorf("started at %v, want %v", o.Unit.Started, want)
				}
			})
		})
	}
}

func TestStartLimit(t *testing.T) {
	t.Parallel()
	// Without a StartLimitAction a refused restart does no harm, and its result shows it.
	for _, action := range []string{"", "none", "reboot"} {
		m := newMachine(t)
		m.state("limit=yes", "action="+action)
		// Every start reaches the limit, so each restart needs reset-failed.
		m.hook("on-restart", "limit=yes; case $loaded in BAD*) log AADSTS1 ;; esac")
		m.wants(m.rotate(firstRun, badBytes), RolledBack)
		m.live(oldBytes)
		calls := m.read("/unit/calls")
		reset, restart := strings.Index(calls, "reset-failed"), strings.Index(calls, "restart")
		if (reset < restart) != (action != "none") {
			t.Errorf("action %q: %s", action, calls)
		}
	}
}

func TestProof(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ hook, values, proof string }{
		"silent":   {"", "window=0", "process_only"},
		"clean":    {"log INFO x", "window=0", "log_clean"},
		"expected": {"log INFO x", "expect=INFO", "expected_line"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.hook("on-restart", c.hook+"\n")
			r := m.rotate(firstRun, newBytes, c.values)
			m.wants(r, Rotated)
			if r.get("proof") != c.proof {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestDeniedBefore: a denied line does not count if the log had one as shortly before the
// restart, unless the new line names the new certificate.
func TestDeniedBefore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		now    string // in the log after the restart
		before bool   // a denied line just before the restart
		ending Ending
	}{
		"before and after": {"ERROR AADSTS7: other app", true, Rotated},
		"only after":       {"ERROR AADSTS7: other app", false, Failed},
		"with thumbprint":  {"ERROR AADSTS7: key abcdef0123 unknown", true, Failed},
		"another pattern":  {"ERROR invalid_client", true, Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.hook("on-restart", "[ $starts != 1 ] || log '"+c.now+"'; [ $starts = 1 ] || { active=failed; }")
			if c.before {
				// Its time is in the future, so that it is recent even after a slow backup.
				m.hook("on-show", "[ -f \"$MACHINE/said\" ] || { : >\"$MACHINE/said\"; printf '%sZ ERROR AADSTS7: other app\\n' \"$(date -u -d '+1 minute' +%FT%T.%6N)\" >>\"$log\"; }")
			} else {
				m.logLine(3600e9, "ERROR AADSTS7: other app")
			}
			r := m.rotate(firstRun, newBytes, "thumbprint=ABCDEF0123")
			m.wants(r, c.ending)
			if c.ending == Rotated && (r.get("proof") != "process_only" || r.get("known") != "yes" || !strings.Contains(r.get("note"), "AADSTS7")) {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestWatchIsNotIdle: every five seconds, by the host's own clock, the watch prints a line,
// so that sshd does not close an idle session.
func TestWatchIsNotIdle(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.must(os.Remove(m.root + "/proc/uptime"))
		m.write("/proc/uptime", "100000.00 0.00\n")
		m.hook("on-show", `printf '%s.00 0.00\n' "$((100000 + 3 * shows))" >"$MACHINE/proc/uptime"`)
		r := m.rotate(firstRun, newBytes, "timeout=30", "window=17")
		m.wants(r, Rotated)
		if n := len(r.all("watching")); n != 3 {
			t.Errorf("%d lines\n%s", n, r)
		}
	})
}
