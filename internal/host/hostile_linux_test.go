package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// TestLongLineHidesNothing finds a denied pattern at any position of a long line.
func TestLongLineHidesNothing(t *testing.T) {
	t.Parallel()
	for _, before := range []int{3900, 3990, 3995, 3999, 4000, 7650, 20000} {
		t.Run(strconv.Itoa(before), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.hook("on-restart", `[ $starts = 1 ] || return 0
printf '%sZ %0`+strconv.Itoa(before)+`d AADSTS700027: refused, and more\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%6N)" 0 >>"$log"
mv "$log" "$log.1"
`) // so that log_change sets odd
			r := m.rotate(firstRun, newBytes)
			m.wants(r, RolledBack)
			m.wantsError(r, "the log says: ")
		})
	}
}

// TestManyNames: many leftovers in the certificate's folder block nothing.
func TestManyNames(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for i := range 20000 {
		m.must(os.Symlink("x", fmt.Sprintf("%s%s/.aoifleet-%0200d", m.root, filepath.Dir(certPath), i)))
	}
	m.wants(m.rotate(firstRun, badBytes), RolledBack)
	m.live(oldBytes)
	m.settled()
}

// TestKnownLinesHideNothing finds one new denied line among many known ones.
func TestKnownLinesHideNothing(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.logLine(0, "ERROR AADSTS1: another application")
		m.hook("on-restart", `[ $starts = 1 ] || return 0
log ERROR AADSTS1: another application
tail -n 1 "$log" >"$log.x"
for _ in $(seq 10); do cat "$log.x" "$log.x" >"$log.y"; mv "$log.y" "$log.x"; done
cat "$log.x" >>"$log"; rm "$log.x"
log ERROR invalid_client
`)
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Failed)
		m.wantsError(r, "the log says: ")
		if !strings.Contains(strings.Join(r.all("error"), ""), "invalid_client") {
			t.Errorf("%v", r)
		}
	})
}

// TestDeniedWordInControlSequences: no control sequence of ECMA-48 hides a denied pattern.
func TestDeniedWordInControlSequences(t *testing.T) {
	t.Parallel()
	for name, inside := range map[string]string{
		"CSI, private":      `\033[?25l`,
		"CSI, colons":       `\033[38:2::10:20:30m`,
		"CSI, intermediate": `\033[1 q`,
		"OSC, BEL":          `\033]0;title\007`,
		"OSC, ST":           `\033]8;;http://x\033\\`,
		"OSC without end":   `\033]`,
		"DCS":               `\033Pq#0\033\\`,
		"character set":     `\033(B`,
		"reset":             `\033c`,
		"C1 of UTF-8":       `\302\2331m`,
		"C1 OSC of UTF-8":   `\302\2350;x\007`,
		"other C1":          `\302\205`,
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.hook("on-restart", `[ $starts != 1 ] || log "$(printf 'ERROR AAD`+inside+`STS700027')"`)
				r := m.rotate(firstRun, newBytes)
				m.wants(r, RolledBack)
				m.wantsError(r, "the log says: ")
				if !strings.Contains(strings.Join(r.all("error"), ""), "AADSTS700027") {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestHugeLine: a log with one huge line, and one that grows by more than the limit.
func TestHugeLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		restart string
		ending  Ending
	}{
		"one line":          {`head -c 30000000 /dev/zero | tr '\0' x >>"$log"`, Rotated},
		"denied at its end": {`{ head -c 30000000 /dev/zero | tr '\0' x; printf ' AADSTS42\n'; } >>"$log"`, RolledBack},
		"many lines":        {`yes "$(date -u +%Y-%m-%dT%H:%M:%S.999999Z) INFO x" | head -c 30000000 >>"$log"`, Rotated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.hook("on-restart", "[ $starts = 1 ] || return 0\n"+c.restart+"\n")
			r := m.rotate(firstRun, newBytes)
			m.wants(r, c.ending)
			if note := strings.Join(r.all("note"), "\n"); c.ending == Rotated && !strings.Contains(note, "first and its last part") {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestLineBetweenTheLookAndTheMark: such a line is the old process's.
func TestLineBetweenTheLookAndTheMark(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", "[ $starts = 1 ] || return 0\nread -r up _ </proc/uptime; started=${up%.*}${up#*.}0000\nsleep 0.1; log INFO agent: started\n")
		m.text = strings.Replace(m.text, "back_up() {\n", "back_up() {\nprintf '%sZ ERROR AADSTS1\\n' \"$(date -u +%Y-%m-%dT%H:%M:%S.%6N)\" >>\"$ROOT$log\"; sleep 0.3\n", 1)
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Rotated)
	})
}

// TestFileWithoutEnd: an endless certificate file of the agent's, in a folder of root's own,
// is never read for long.
func TestFileWithoutEnd(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		values := with(m.change(secondRun, newBytes), "old=large")
		m.must(os.Truncate(m.root+certPath, 8<<40))
		r := m.run("observe", append(m.common(firstRun), value{"path", certPath}), noAnswer)
		if r.get("digest") != "large" || r.get("observed") != "yes" {
			t.Errorf("%v", r)
		}
		r = m.run("rotate", values, noAnswer)
		m.wants(r, Refused)
		m.wantsError(r, "is larger than 1 MiB")
	})
}

// TestLongLineInTheConfiguration: the shell matches no pattern against it.
func TestLongLineInTheConfiguration(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", strings.Repeat(" ", 60000)+"cert_path: /x\n"+config(certPath))
		o, _, err := m.look(inventory.Agent{})
		if err == nil || o.Configured == "" {
			t.Errorf("%+v %v", o, err)
		}
	})
}
