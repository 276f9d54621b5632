package host

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

// FuzzConversation: whatever a host prints during a transaction, the report is small and can be
// shown; it has no success that the operator did not allow, and a reason if it has none.
func FuzzConversation(f *testing.F) {
	const steps = "step=lock\nstep=check\nstep=backup\nstep=arm\nstep=swap\nstep=restart\nstep=watch\n"
	f.Add(steps+"verdict=\nproof=expected_line\nresult=rotated\n", false)
	f.Add(steps+"error=unhealthy denied\nevidence=a\x1b[31m\nstep=undo\nundo_error=x\nresult=rolled_back\n", false)
	f.Add("step=lock\nerror=locked \nresult=refused\n", false)
	f.Add("result=rotated\nresult=rehearsed\nresult=clean\n", true)
	f.Add("note=x\nknown=\ngathered=\nreceipt_pid=99999999999\nresult=\nresult=failed", false)
	f.Add(strings.Repeat("note=x\n", 300)+strings.Repeat("step=x\n", 60)+strings.Repeat("evidence=\n", 300), false)
	endings := []Ending{Rotated, Rehearsed, RolledBack, Failed, Refused, Clean, Lost}
	f.Fuzz(func(t *testing.T, out string, rehearsal bool) {
		c := &conversation{vm: &VM{}, onStep: func(string) {}, rehearsal: rehearsal, report: &Report{Ending: Lost}}
		confirmed := false
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "verdict") { // the answer goes to the host
				c.next("confirm")
				c.asked, confirmed = true, confirmed || !c.over
				continue
			}
			c.hear(t.Context(), strings.TrimSuffix(line, "\n"))
		}
		r := c.ended(t.Context(), nil)
		if !slices.Contains(endings, r.Ending) || r.Ending == Rotated && !confirmed || r.Ending == Rehearsed && !rehearsal {
			t.Errorf("%q: %+v", out, r)
		}
		if r.Ending == Lost || r.Problem != nil {
			fuzz.Problem(t, r.Problem, 800)
		}
		if len(r.Notes) > 200 || len(r.Evidence) > 200 || len(r.Steps) > 51 || r.PID < 0 {
			t.Errorf("%d notes, %d lines of evidence, %d steps, process %d", len(r.Notes), len(r.Evidence), len(r.Steps), r.PID)
		}
		for _, text := range slices.Concat(r.Notes, r.Evidence, []string{r.Proof}) {
			fuzz.Line(t, text, 1000)
		}
		for _, s := range r.Steps {
			fuzz.Line(t, s.Name, 200)
		}
	})
}

// FuzzRefusal: whatever a host prints in place of the script's answer, the error has a class and
// a reason that can be shown, and sudo is named only if it has said something.
func FuzzRefusal(f *testing.F) {
	f.Add("sudo: a password is required\n", "", 1, false)
	f.Add("op is not in the sudoers file.\nThis incident will be reported.\n", "", 1, true)
	f.Add("Sorry, user op is not allowed to execute '/bin/sh -s' as root on vm.\n", "", 1, true)
	f.Add("sudo: /usr/local/libexec/aoifleet-host: command not found\n", "", 1, true)
	f.Add("sudo: \x1b[31munable to resolve host vm: x\nsudo: 1 incorrect password attempt\n", "", 1, true)
	f.Add("env: 'sudo': No such file or directory\n", "", 127, true)
	f.Add("sh: 1: /usr/bin/awk: Permission denied\n", "", 126, false)
	f.Add("sudo-rs: I'm sorry op. I'm afraid I can't do that\n", "", 1, true)
	f.Add("", "This account is currently not available.\n", 1, false)
	f.Add("", "helper=2 abc\nerror=internal unknown verb\n", 0, true)
	f.Add("", "error=\n", 0, false)
	f.Add("", "\x00\x1b]0;x\x07=\n", -1, false)
	f.Fuzz(func(t *testing.T, said, out string, status int, helper bool) {
		vm := &VM{host: inventory.Host{User: "op", Sudo: inventory.SudoPasswordless}, password: &Password{}}
		if helper {
			vm.host.Helper = HelperPath
		}
		said = display.SanitiseText(said, remote.MaxForeignText) // as remote.ExitError has it
		first, _, _ := strings.Cut(out, "\n")
		exit := &remote.ExitError{Status: status, Stderr: said}
		found := parseFound([]byte(out))
		_, version := helperProblem(found)
		u := &unlocking{vm: vm, prompts: newPrompts("MARK")}
		_, _ = io.WriteString(u.prompts, "MARK"+said)
		_, judged := u.judge(said)
		for _, err := range []error{vm.sudoProblem(t.Context(), exit), vm.notRun(t.Context(), exit, first), cutShort([]byte(out)), hostSaid(out),
			version, judged, vm.refused(refusalIn(said), said)} {
			if err == nil {
				continue
			}
			fuzz.Problem(t, AsProblem(err), remote.MaxForeignText)
			vm.diagnosisHint(AsProblem(err).Message)
		}
		ofSudo := status >= 126 || refusalIn(said) != otherwise || slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
			return strings.HasPrefix(strings.TrimSpace(line), "sudo: ")
		})
		if err := vm.notRun(t.Context(), exit, first); problem.Is(err, problem.Sudo) && !ofSudo {
			t.Errorf("%q: %v", said, err)
		}
	})
}

// What the watch of the restored files notes again is told apart from the new files' note.
func TestNoteOfTheUndo(t *testing.T) {
	c := conversation{report: &Report{}}
	c.hear(t.Context(), "note=uploads failed")
	c.hear(t.Context(), "note=uploads failed")
	if got := strings.Join(c.report.Notes, "; "); got != "uploads failed; also after the undo: uploads failed" {
		t.Error(got)
	}
}
