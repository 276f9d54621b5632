package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// manager is a systemd with one service, in a synctest bubble.
type manager struct {
	*systemd
	t     *testing.T
	crash chan error // a value ends the service
	timed []string   // commands started by timers
	wrong faults
	hold  chan bool // closing it ends the services of timers
}

func inBubble(t *testing.T, test func(m *manager)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var tasks group
		m := &manager{t: t, crash: make(chan error), hold: make(chan bool)}
		close(m.hold)
		m.systemd = newSystemd(ctx, &tasks, time.Second, &m.wrong, func(ctx context.Context, argv []string) {
			m.mu.Lock()
			m.timed = append(m.timed, strings.Join(argv, " "))
			hold := m.hold
			m.mu.Unlock()
			select {
			case <-hold:
			case <-ctx.Done():
			}
		})
		m.add(Unit, func(ctx context.Context, ready func()) error {
			ready()
			select {
			case <-ctx.Done():
				return nil
			case err := <-m.crash:
				return err
			}
		})
		test(m)
		cancel()
		m.systemd.close()
		tasks.Close()
	})
}

// fault gives the machine one fault.
func (m *manager) fault(line string) {
	m.t.Helper()
	f, err := parseFault(line)
	if err != nil {
		m.t.Fatal(err)
	}
	m.wrong.replace([]fault{f}, false)
}

// do runs a command that must end with status 0.
func (m *manager) do(args ...string) {
	m.t.Helper()
	m.want(0, "", args...)
}

// want runs a command and checks its status and the first line that it prints.
func (m *manager) want(status int, line string, args ...string) {
	m.t.Helper()
	program := "systemctl"
	if args[0] == "systemd-run" {
		program, args = args[0], args[1:]
	}
	r := m.call(program, args)
	got := append(append(r.out, r.err...), "")[0]
	if r.status != status || line != "" && got != line {
		m.t.Errorf("%s %v: status %d, %q; want %d, %q", program, args, r.status, got, status, line)
	}
}

// is checks ActiveState/SubState, Result and NRestarts.
func (m *manager) is(want string) {
	m.t.Helper()
	synctest.Wait()
	s := m.state(Unit)
	if got := strings.Join([]string{s.Active, s.Sub, s.Result, string(rune('0' + s.Restarts))}, " "); got != want {
		m.t.Errorf("the unit is %q, want %q", got, want)
	}
}

func TestUnit(t *testing.T) {
	boom := errors.New("boom")
	attempted := "Job for " + Unit + " failed because start of the service was attempted too often."
	tests := map[string]func(m *manager){
		"before": func(m *manager) { m.is("inactive dead success 0") },
		"start and stop": func(m *manager) {
			m.do("start", Unit)
			m.is("active running success 0")
			m.do("start", Unit)
			m.do("stop", Unit)
			m.is("inactive dead success 0")
			m.do("stop", Unit)
		},
		"every start has its own invocation": func(m *manager) {
			seen := map[string]bool{}
			for range 4 {
				m.do("restart", Unit)
				seen[m.state(Unit).InvocationID] = true
			}
			if len(seen) != 4 {
				m.t.Errorf("%d invocations of 4", len(seen))
			}
			for id := range seen {
				if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
					m.t.Errorf("invocation %q", id)
				}
			}
		},
		"restart on failure": func(m *manager) {
			m.do("start", Unit)
			first := m.state(Unit)
			m.crash <- boom
			m.is("activating auto-restart exit-code 0")
			time.Sleep(time.Second)
			m.is("active running success 1")
			if second := m.state(Unit); second.InvocationID == first.InvocationID || second.MainPID == first.MainPID {
				m.t.Errorf("%+v, then %+v", first, second)
			}
		},
		"no restart on success": func(m *manager) {
			m.do("start", Unit)
			m.crash <- nil
			time.Sleep(time.Minute)
			m.is("inactive dead success 0")
		},
		"a stop ends the wait for a restart": func(m *manager) {
			m.do("start", Unit)
			m.crash <- boom
			synctest.Wait()
			m.do("stop", Unit)
			time.Sleep(time.Minute)
			m.is("inactive dead exit-code 0")
		},
		"a manual restart counts from 0": func(m *manager) {
			m.do("start", Unit)
			m.crash <- boom
			time.Sleep(time.Second)
			m.is("active running success 1")
			m.do("restart", Unit)
			m.is("active running success 0")
		},
		"start limit with manual starts": func(m *manager) {
			for range startLimitBurst {
				m.do("restart", Unit)
			}
			m.want(1, attempted, "restart", Unit)
			m.is("failed failed start-limit-hit 0")
			m.want(1, attempted, "start", Unit)
			time.Sleep(startLimitInterval)
			m.do("start", Unit)
			m.is("active running success 0")
		},
		"start limit by a crash loop": func(m *manager) {
			m.do("start", Unit)
			for range startLimitBurst {
				m.crash <- boom
				time.Sleep(time.Second)
			}
			m.is("failed failed start-limit-hit 4")
			m.want(1, attempted, "restart", Unit)
			m.do("reset-failed", Unit)
			m.is("inactive dead success 0")
			m.do("restart", Unit)
			m.is("active running success 0")
		},
		"reset-failed frees the starts": func(m *manager) {
			for range 3 * startLimitBurst {
				m.do("reset-failed", Unit)
				m.do("restart", Unit)
			}
			m.is("active running success 0")
		},
		"a slow restart": func(m *manager) {
			m.fault("restart-slow 3s")
			began := time.Now()
			m.do("restart", Unit)
			if took := time.Since(began); took != 3*time.Second {
				m.t.Errorf("took %v", took)
			}
		},
		"a restart that fails": func(m *manager) {
			m.do("start", Unit)
			m.fault("restart-fails Job failed.")
			m.want(1, "Job failed.", "restart", Unit)
			m.is("active running success 0")
		},
		"a masked unit": func(m *manager) {
			m.do("mask", Unit)
			m.want(1, "Failed to start "+Unit+": Unit "+Unit+" is masked.", "start", Unit)
			m.do("unmask", Unit)
			m.do("start", Unit)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { inBubble(t, test) })
	}
}

func TestSystemctlWords(t *testing.T) {
	inBubble(t, func(m *manager) {
		m.want(0, systemdVersion, "--version")
		m.want(3, "inactive", "is-active", Unit)
		m.want(0, "enabled", "is-enabled", Unit)
		m.want(0, "WantedBy=multi-user.target", "show", "--property=WantedBy", Unit)
		m.do("disable", Unit)
		m.want(1, "disabled", "is-enabled", Unit)
		m.want(0, "WantedBy=", "show", "--property=WantedBy", Unit)
		m.do("start", "az-aoi-ingestion")
		m.want(0, "active", "is-active", "az-aoi-ingestion")
		m.want(0, "", "is-active", "-q", Unit)
		m.want(1, "active", "is-failed", Unit)
		m.want(5, "Failed to restart x.service: Unit x.service not found.", "restart", "x")
		m.want(5, "Failed to start x.service: Unit x.service not found.", "start", "x.service")
		m.want(5, "Failed to stop x.timer: Unit x.timer not loaded.", "stop", "x.timer")
		m.want(1, "Failed to reset failed state of unit x.service: Unit x.service not loaded.", "reset-failed", "x")
		m.want(1, "Unknown command verb dance.", "dance", Unit)
		m.want(1, "Too few arguments.", "restart")
		m.want(1, "systemctl: unrecognized option '--dance'", "--dance")
		m.want(1, "systemctl: option requires an argument -- 'p'", "show", "-p")
		m.want(0, "active", "show", "-p", "ActiveState", "--value", Unit)
		m.do("daemon-reload")
	})
}

func TestShow(t *testing.T) {
	inBubble(t, func(m *manager) {
		m.do("start", Unit)
		r := m.call("systemctl", []string{"show", "-p", "LoadState,ActiveState,SubState,UnitFileState,InvocationID,NRestarts,MainPID,ExecMainStartTimestampMonotonic,Result,User,NoSuchThing", Unit})
		keys := make([]string, 0, len(r.out))
		for _, line := range r.out {
			key, value, _ := strings.Cut(line, "=")
			if value == "" {
				m.t.Errorf("%q", line)
			}
			keys = append(keys, key)
		}
		slices.Sort(keys)
		want := "ActiveState ExecMainStartTimestampMonotonic InvocationID LoadState MainPID NRestarts Result SubState UnitFileState User"
		if got := strings.Join(keys, " "); got != want || r.status != 0 {
			m.t.Errorf("%s, want %s", got, want)
		}
		r = m.call("systemctl", []string{"show", "-p", "LoadState,ActiveState,InvocationID", "x.service"})
		if got := strings.Join(r.out, " "); got != "LoadState=not-found ActiveState=inactive InvocationID=" || r.status != 0 {
			m.t.Errorf("of a missing unit: %q, %d", got, r.status)
		}
	})
}

func TestTimer(t *testing.T) {
	arm := []string{"systemd-run", "-q", "--collect", "--unit=undo", "--on-active=30", "--on-unit-active=15", "--timer-property=AccuracySec=1s", "/bin/sh", "/host.sh"}
	inBubble(t, func(m *manager) {
		fired := func(n int) {
			m.t.Helper()
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.timed) != n {
				m.t.Errorf("fired %d times, want %d", len(m.timed), n)
			}
		}
		m.do(arm...)
		m.want(0, "active", "is-active", "undo.timer")
		m.want(1, "Failed to start transient timer unit: Unit undo.timer was already loaded or has a fragment file.", arm...)
		time.Sleep(29 * time.Second)
		fired(0)
		time.Sleep(time.Second)
		fired(1)
		time.Sleep(15 * time.Second)
		fired(2)
		m.mu.Lock()
		m.hold = make(chan bool)
		m.mu.Unlock()
		time.Sleep(15 * time.Second)
		fired(3)
		time.Sleep(45 * time.Second)
		fired(3) // it still runs
		m.do("stop", "undo.timer")
		m.want(3, "inactive", "is-active", "undo.timer")
		close(m.hold)
		time.Sleep(time.Hour)
		fired(3)
		if m.timed[0] != "/bin/sh /host.sh" {
			m.t.Errorf("%q", m.timed[0])
		}
		m.do("systemd-run", "--unit=once.timer", "--on-active=1min", "x")
		time.Sleep(time.Minute)
		fired(4)
		m.want(3, "inactive", "is-active", "once.timer")
		for _, wrong := range []string{"--on-active=soon", "--on-active=-1s", "--on-active=0", "--dance"} {
			m.want(1, "", "systemd-run", "--unit=wrong", wrong, "x")
		}
		m.want(1, "", "systemd-run", "--unit=wrong", "--on-active=1")
	})
}

// The script stores a copy of itself, with the replaced block, and a timer runs
// the copy.
func TestTimerOnMachine(t *testing.T) {
	_, m := startOne(t, Options{})
	stored := hostScript("systemctl stop u.timer; systemctl is-active " + Unit + " >$ROOT/tmp/seen; echo done")
	r := onHost(t, m, "cat >$ROOT/tmp/script <<'END'\n"+stored+"END",
		"systemd-run -q --collect --unit=u --on-active=1 --on-unit-active=15 --timer-property=AccuracySec=1s /bin/sh $ROOT/tmp/script",
		"systemctl show u.timer -p ActiveState")
	if r.status != 0 || r.stdout != "ActiveState=active\n" {
		t.Fatalf("%+v", r)
	}
	eventually(t, "the script ran", func() bool {
		seen, _ := os.ReadFile(m.inRoot("/tmp/seen"))
		return string(seen) == "active\n"
	})
	eventually(t, "its output is in the journal", func() bool {
		journal, _ := os.ReadFile(filepath.Join(m.dir, "journal"))
		return string(journal) == "done\n"
	})
	if names := m.Timers(); len(names) != 0 {
		t.Errorf("timers left: %v", names)
	}
}

// What a test changes after a start is not for the life that was started: its files are read.
func TestStartedHasReadItsFiles(t *testing.T) {
	inBubble(t, func(m *manager) {
		read := false
		m.add("slow.service", func(ctx context.Context, ready func()) error {
			time.Sleep(time.Second)
			read = true
			ready()
			<-ctx.Done()
			return nil
		})
		m.do("start", "slow.service")
		if !read {
			t.Error("started before its files were read")
		}
	})
}

// The reply for a caller that timeout(1) has killed does not reach the next caller.
func TestReplyOfKilledCaller(t *testing.T) {
	_, m := startOne(t, Options{})
	if err := m.SetFault("restart-slow 3s"); err != nil {
		t.Fatal(err)
	}
	r := onHost(t, m,
		"timeout 0.1 systemctl restart "+Unit+"; echo $?",
		"systemctl show -p LoadState x.service",
		"sleep 3.2; systemctl is-enabled "+Unit)
	if r.stdout != "124\nLoadState=not-found\nenabled\n" {
		t.Errorf("%+v", r)
	}
}

func TestAgentUnderSystemd(t *testing.T) {
	_, m := startOne(t, Options{RestartDelay: 20 * time.Millisecond})
	if err := m.SetFault("exit-at-start"); err != nil {
		t.Fatal(err)
	}
	if r := onHost(t, m, "systemctl restart "+Unit); r.status != 0 {
		t.Fatalf("a Type=simple service has started once it was executed: %+v", r)
	}
	eventually(t, "the start limit", func() bool { return m.AgentState().Result == resultStartLimit })
	if r := onHost(t, m, "systemctl restart "+Unit); r.status != 1 || !strings.Contains(r.stderr, "attempted too often") {
		t.Errorf("%+v", r)
	}
	if err := m.SetFault(); err != nil {
		t.Fatal(err)
	}
	if r := onHost(t, m, "systemctl reset-failed "+Unit+" && systemctl restart "+Unit); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if s := m.AgentState(); s.Active != "active" || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}
