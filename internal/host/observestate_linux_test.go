package host

import (
	"fmt"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// seen returns the lines of some keys from observe, and checks that it changes nothing.
func (m *machine) seen(run string, keys ...string) []string {
	m.t.Helper()
	before := m.snapshot()
	r := m.run("observe", append(m.common(run), value{"path", certPath}, value{"saved", firstRun}), noAnswer)
	if after := m.snapshot(); after != before || r.get("observed") != "yes" || r.stderr != "" {
		m.t.Errorf("observe changed\n%s\nto\n%s\n%v", before, after, r)
	}
	var found []string
	for _, key := range keys {
		for _, text := range r.all(key) {
			found = append(found, key+"="+text)
		}
	}
	return found
}

// TestObserveAnUnfinishedRun: in progress, interrupted, rebooted, undone.
func TestObserveAnUnfinishedRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		look := func(state, run string, want ...string) {
			t.Helper()
			got := m.seen(run, "receipt", "receipt_alive", "at_work", "receipt_left", "leftover")
			for i, line := range got {
				if key, left, _ := strings.Cut(line, "="); key == "receipt_left" {
					var n int
					if _, err := fmt.Sscan(left, &n); err == nil && n > 0 && n <= 60 {
						got[i] = "receipt_left=N"
					}
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: got %q, want %q", state, got, want)
			}
		}
		const pending = "receipt=pending run=" + firstRun + " owner=operator@console"
		look("nothing", firstRun)
		w := m.waiting(firstRun)
		look("in progress", secondRun, pending, "receipt_alive=yes", "receipt_left=N")
		look("the same run", firstRun, pending, "receipt_alive=yes", "at_work=yes", "receipt_left=N")
		m.due()
		look("overdue", secondRun, pending, "receipt_alive=yes", "receipt_left=0")
		m.write(m.stateRun(firstRun)+"/deadline", fmt.Sprintln(m.uptime()/1_000_000+50))
		m.killed(w)
		look("interrupted", firstRun, pending, "receipt_left=N")
		m.reboot()
		look("rebooted", firstRun, "receipt=undoing run="+firstRun+" owner=operator@console")
		m.wants(m.recover(), RolledBack)
		look("undone", firstRun, "receipt=rolled-back run="+firstRun+" owner=operator@console")
	})
}

func TestObserveBackups(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		saved := p12(t, pkcs12.Modern2023)
		m.removeCertificate()
		m.state("loaded=")
		none := "20261123T080000Z-none"
		m.wants(m.rotate(none, saved), Rotated)
		m.wants(m.rotate(firstRun, newBytes), Rotated)
		m.wants(m.rotate(secondRun, badBytes), RolledBack)
		m.mkdir(m.stateRun("20261123T120000Z-empty"), 0o700)
		m.mkdir(m.stateRun("20261123T130000Z-receipt"), 0o700)
		m.write(m.stateRun("20261123T130000Z-receipt")+"/receipt", "run=20261123T130000Z-receipt\nold="+digest(oldBytes)+"\nend\n")
		got := strings.Join(m.seen(secondRun, "backup"), "\n")
		want := "backup=" + none + " none " + digest(saved) + "\nbackup=" + firstRun + " " + digest(saved) + " " + digest(newBytes)
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if pem := strings.Join(m.seen(secondRun, "saved_pem"), "\n"); !strings.Contains(pem, "BEGIN CERTIFICATE") || strings.Contains(pem, "PRIVATE") {
			t.Errorf("saved: %s", pem)
		}
	})
}
