package host

import "testing"

// TestScriptTakesNothingFromTheEnvironment: a login as root keeps the exports of its start-up
// files. The dead-man switch runs the copy of the script that this shell has written.
func TestScriptTakesNothingFromTheEnvironment(t *testing.T) {
	t.Parallel()
	for _, export := range []string{"self=echo (", "more=echo (", "BASH_VERSION=5.2.15(1)-release"} {
		t.Run(export, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.environ = []string{export}
				rehearsed(t, m)
			})
		})
	}
}
