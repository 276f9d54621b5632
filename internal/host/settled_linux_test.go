package host

import (
	"testing"
)

// TestCertificateThatIsRemoved after the swap, or after the undo, is not taken for
// the one that was put there.
func TestCertificateThatIsRemoved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		restart string
		ending  Ending
		words   string
	}{
		"after the swap": {`[ $starts != 1 ] || rm "$live"`, RolledBack, "drift " + certPath + " was changed"},
		"after the undo": {`if [ $starts = 1 ]; then log ERROR AADSTS1; else rm "$live"; fi`, Failed, "the log says: "},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.hook("on-restart", "log INFO agent: started\n"+c.restart+"\n")
				r := m.rotate(firstRun, newBytes)
				m.wants(r, c.ending)
				m.wantsError(r, c.words)
				m.settled()
			})
		})
	}
}
