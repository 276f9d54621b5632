package host

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// logCase is a change of the log at the restart. The hook plays the agent; it always
// writes the line "INFO after".
type logCase struct {
	name    string
	prepare string // sh, before the rotation
	restart string // sh, at the restart; BAD writes a denied line, or nothing
	unknown bool   // the position of the start is unknown
	silent  bool   // lines have no times
}

var logCases = []logCase{
	{name: "plain", restart: "log INFO after; BAD"},
	{name: "none before", prepare: `rm "$log"`, restart: "log INFO after; BAD"},
	{name: "empty before", prepare: `: >"$log"`, restart: "log INFO after; BAD"},
	{name: "empty before, renamed", prepare: `: >"$log"`, restart: `BAD; mv "$log" "$log.1"; log INFO after`},
	{name: "empty before, truncated", prepare: `: >"$log"`, restart: `: >"$log"; log INFO after; BAD`},
	{name: "truncated in place, nothing more", restart: `: >"$log"; log INFO after; BAD`, unknown: true},
	{name: "copytruncate", restart: `BAD; cp "$log" "$log.1"; : >"$log"; log INFO after`},
	{name: "copytruncate, then denied", restart: `cp "$log" "$log.1"; : >"$log"; log INFO after; BAD`},
	{name: "copytruncate, grown past its old size", restart: `BAD; cp "$log" "$log.1"; : >"$log"; for i in 1 2 3 4 5 6 7 8 9; do log INFO filler; done; log INFO after`},
	{name: "renamed", restart: `mv "$log" "$log-20261123"; log INFO after; BAD`},
	{name: "renamed, denied in the old one", restart: `BAD; mv "$log" "$log.1"; log INFO after`},
	{name: "renamed twice", restart: `BAD; mv "$log" "$log.2"; touch -d -1min "$log.2"; log INFO between; mv "$log" "$log.1"; log INFO after`},
	{name: "renamed twice, denied between", restart: `mv "$log" "$log.2"; touch -d -1min "$log.2"; BAD; mv "$log" "$log.1"; log INFO after`},
	{name: "renamed, no new one yet", restart: `log INFO after; BAD; mv "$log" "$log.1"`},
	{name: "compressed at once", restart: `gzip -c "$log" >"$log.1.gz"; rm "$log"; log INFO after; BAD`, unknown: true},
	{name: "overwritten from the start", prepare: `for i in $(seq 1000); do printf '2026-11-23T08:00:00.000000Z  INFO old line %s\n' $i; done >>"$log"`,
		restart: `l=$log; log=$l.new; log INFO after; BAD; log=$l; dd if="$l.new" of="$l" conv=notrunc status=none; rm "$l.new"`},
	{name: "overwritten past the mark", restart: `l=$log; log=$l.new; log INFO after; BAD; log INFO x; log INFO x; log=$l; dd if="$l.new" of="$l" conv=notrunc status=none; rm "$l.new"`, unknown: true},
	{name: "last lines, then overwritten from the start", prepare: `for i in $(seq 1000); do printf '2026-11-23T08:00:00.000000Z  INFO old line %s\n' $i; done >>"$log"`,
		restart: `log INFO last words; l=$log; log=$l.new; log INFO after; BAD; log=$l; dd if="$l.new" of="$l" conv=notrunc status=none; rm "$l.new"`},
	{name: "no times", prepare: `printf 'a line\nanother\n' >"$log"`, restart: `printf 'INFO after\n' >>"$log"; BAD`, silent: true},
	{name: "binary", prepare: `head -c 100000 /dev/urandom >"$log"`, restart: `{ head -c 5000 /dev/urandom; printf '\0\n'; } >>"$log"; log INFO after; BAD`},
	{name: "one long line before", prepare: `head -c 1000000 /dev/zero | tr '\0' x >"$log"`, restart: `printf '\n' >>"$log"; log INFO after; BAD`},
	{name: "large", prepare: `yes '2026-11-23T08:00:00.000000Z  INFO an old line' | head -c 10485760 >"$log"; printf '\n' >>"$log"`, restart: "log INFO after; BAD"},
	{name: "symlink", prepare: `mv "$log" "$MACHINE/var/real.log"; ln -s ../real.log "$log"`, restart: "log INFO after; BAD"},
	{name: "FIFO", prepare: `rm "$log"`, restart: `mkfifo "$log"`, silent: true},
}

// do runs shell code like a hook of the systemctl stand-in.
func (m *machine) do(script string) {
	m.t.Helper()
	m.hook("on-restart", script+"\nexit 0\n")
	if out, err := m.command(tools+"/bin/systemctl", "restart", unitName).CombinedOutput(); err != nil || len(out) > 0 {
		m.t.Fatalf("%v %s", err, out)
	}
	m.must(os.Remove(m.root + "/unit/on-restart"))
}

// TestLogSinceTheRestart: for every change of the log, lines since the restart count, and
// earlier lines don't.
func TestLogSinceTheRestart(t *testing.T) {
	t.Parallel()
	for i, c := range logCases {
		for _, denied := range []bool{false, true} {
			shell := shells(t)[i%len(shells(t))]
			t.Run(c.name+map[bool]string{true: " denied"}[denied], func(t *testing.T) {
				if leftOut(t) {
					return
				}
				t.Parallel()
				m := newMachine(t)
				m.shell = shell
				m.do(": >>\"$log\"\nsed -i 's/^/2026-11-23T07:00:00.000000Z ERROR AADSTS0 old\\n/' \"$log\"\n" + c.prepare)
				c.run(t, m, denied && c.name != "FIFO")
			})
		}
	}
}

func (c logCase) run(t *testing.T, m *machine, denied bool) {
	bad := ":"
	if denied {
		bad = "log ERROR AADSTS42"
		if c.silent {
			bad = `printf 'ERROR AADSTS42\n' >>"$log"`
		}
	}
	m.hook("on-restart", "if [ $starts = 1 ]; then\n"+strings.ReplaceAll(c.restart, "BAD", bad)+"\nfi\n")
	m.state("starts=0")
	r := m.rotate(firstRun, newBytes)
	if denied {
		m.wants(r, RolledBack)
		m.wantsError(r, "AADSTS42")
		m.settled()
		return
	}
	m.wants(r, Rotated)
	got := strings.Join(r.all("evidence"), "\n")
	if !strings.Contains(got, "INFO after") && c.name != "FIFO" || strings.Contains(got, "AADSTS0") || strings.Contains(got, "old line") {
		t.Errorf("evidence: %v", r)
	}
	if note := strings.Contains(r.get("note"), "could not be found"); note != c.unknown || strings.Contains(r.stderr, "null byte") {
		t.Errorf("want a note: %v, got %v", c.unknown, r)
	}
}

// bootTime returns when this machine started: the clock of /proc/uptime and of systemd's
// monotonic times began then.
func bootTime(t *testing.T) time.Time {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		t.Fatal(err)
	}
	return time.Now().Add(-time.Duration(up.Nano()))
}

// TestDoubtfulLineProvesNothing: a line written just when the process started may be the
// old process's.
func TestDoubtfulLineProvesNothing(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", fmt.Sprintf(`at=$((started / 10000 + %d)) # in hundredths of a second
printf '%%s.%%sZ INFO task:owner\n' "$(date -u -d "@${at%%??}" +%%Y-%%m-%%dT%%H:%%M:%%S)" "${at#"${at%%??}"}" >>"$log"
`, bootTime(t).UnixMilli()/10))
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Rotated)
		if got := strings.Join(r.all("evidence"), "\n"); r.get("proof") != "process_only" || !strings.Contains(got, "task:owner") {
			t.Errorf("%v", r)
		}
	})
}

func TestLogPathWithSpaces(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		path := "/var/log/- a 'b' $(id) *[x]/std out.log"
		m.mkdir("/var/log/- a 'b' $(id) *[x]", 0o755)
		m.write(path, "2026-11-23T08:00:00.000000Z INFO before\n")
		m.hook("on-restart", "log=\"$MACHINE\"'"+strings.ReplaceAll(path, "'", `'\''`)+"'\nlog INFO moved; mv \"$log\" \"$log.1\"; log INFO after\nlog=\n")
		r := m.rotate(firstRun, newBytes, "log="+path)
		m.wants(r, Rotated)
		if got := strings.Join(r.all("evidence"), "\n"); strings.Contains(got, "before") || !strings.Contains(got, "moved") || !strings.Contains(got, "after") {
			t.Errorf("%v", r)
		}
	})
}
