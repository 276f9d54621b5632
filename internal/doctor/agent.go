package doctor

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// files checks the agent's configuration and its certificate file.
func (c chart) files(v Visit) {
	seen, reason := v.Found.Seen, problemOf(v.Found.SeenErr)
	switch {
	case reason != nil && reason.Class == problem.Configuration:
		c.fail("configuration", reason.Message, reason.Hint)
		return
	case reason != nil || seen == nil:
		return
	case seen.Provider == nil:
		c.ok("configuration", "managed identity")
		c.ok("certificate_path", "none: managed identity")
		c.ok("certificate_form", "none: managed identity")
		return
	}
	provider := "agent.certificate_path"
	if seen.Provider.Name != "" {
		provider = "provider " + display.Sanitise(seen.Provider.Name, 200)
	}
	c.ok("configuration", provider)
	reason = seen.File.Problem()
	if reason != nil && reason.Hint == "" {
		reason.Hint = "see on the host: findmnt -T " + display.Sanitise(seen.File.Path, 4096)
	}
	c.passUnless("certificate_path", reason, pathMessage(seen.File))
	switch {
	case seen.File.Kind == "missing":
		c.ok("certificate_path", "no certificate yet at "+display.Sanitise(seen.File.Path, 4096))
	case seen.File.Kind == "file":
		c.form(v.Found)
	}
}

// pathMessage names a usable path, and says whether others can write there.
func pathMessage(file host.File) string {
	if file.Guarded {
		return file.Path + "; non-root users can write its folder, see docs/security.md"
	}
	return file.Path
}

// form checks the text of the certificate file: the agent reads only one line of base64
// that OpenSSL 3 opens.
func (c chart) form(found *host.Examination) {
	form, ok := found.Form()
	if !ok {
		return
	}
	const name = "certificate_form"
	fail := func(message string) { c.failWithCommand(name, message, "rotate") }
	odd := form.Strange
	switch {
	case found.Seen.File.Size == 0:
		fail("the file is empty")
	case strings.Contains(odd, "X"):
		fail("the file is not base64 text: the agent can't read it")
	case strings.Contains(odd, "B"):
		fail("the file starts with a byte order mark: the agent can't read it")
	case strings.Contains(odd, "R"):
		fail("the file has Windows line endings (CRLF): the agent can't read it")
	case odd == "N" && form.NewlineEnds:
		fail("the file ends with a newline: the agent can't read it")
	case strings.Contains(odd, "N"):
		fail("the file is wrapped over several lines: the agent can't read it")
	case odd != "":
		fail("the file contains blanks: the agent can't read it")
	case !found.Facts.OpenSSL: // see the check openssl
	case form.Opens == "legacy":
		fail("OpenSSL 3 does not open the file: it is encrypted with RC2, RC4 or DES")
	case form.Opens != "yes":
		fail("openssl does not open the file: not a P12, with a passphrase, or with PBMAC1")
	default:
		c.ok(name, "one line, opens with OpenSSL 3")
	}
}

// agent checks the unit, the running agent and its log.
func (c chart) agent(v Visit) {
	if facts := v.Found.Facts; facts != nil {
		c.log(v, facts)
	}
	if v.Found.Seen == nil {
		return
	}
	c.unit(v)
	if v.Found.Seen.Unit.Load == "loaded" {
		c.running(v)
		c.restartTime(v)
	}
	c.accepted(v)
	if v.Found.Facts != nil {
		c.deadMan(v)
	}
}

// unit checks whether systemd can start the unit and does so at boot.
func (c chart) unit(v Visit) {
	u, name := v.Found.Seen.Unit, v.Host.Agent.Unit
	reason := u.LoadProblem(name)
	if reason == nil && u.File == "disabled" && !v.mayBeStopped() {
		reason = &problem.Error{Message: name + " is disabled: nothing starts it at boot",
			Hint: "on the host: systemctl enable " + name + "; or set agent.when_stopped: replace"}
	}
	if reason == nil && !(v.mayBeStopped() && u.Active == "inactive") {
		reason = u.Oneshot(name)
	}
	if reason != nil && u.Load == "masked" {
		reason.Hint = "on the host: systemctl unmask " + name
	}
	c.passUnless("unit", reason, u.File)
}

// mayBeStopped reports whether the inventory accepts a stopped unit.
func (v Visit) mayBeStopped() bool { return v.Host.Agent.WhenStopped == "replace" }

// running checks the running agent by all its findings but those in the log, which have
// a check of their own.
func (c chart) running(v Visit) {
	u, name := v.Found.Seen.Unit, v.Host.Agent.Unit
	see := "see: journalctl -u " + name + " -n 50; or download its diagnostics: aoifleet gather-diags"
	switch why := v.Found.Seen.Health(host.AsFound(v.Host.Health)).Without(host.Denied).First(); why.Kind {
	case host.Healthy:
		c.ok("running", u.Sub)
	case host.Restarting, host.Restarted:
		c.fail("running", name+" exits and is started again", see)
	case host.Exited:
		c.fail("running", name+" is active, but its main process has exited", see)
	case host.Stopped:
		if v.mayBeStopped() {
			c.ok("running", "stopped, as agent.when_stopped: replace allows")
			return
		}
		c.fail("running", name+" is stopped", "on the host: systemctl start "+name+"; or set agent.when_stopped: replace")
	case host.Settling, host.Reloading:
		c.fail("running", name+" is "+u.Active, "wait, or see: systemctl status "+name)
	case host.Failing:
		c.fail("running", fmt.Sprintf("%s has failed (%s)", name, u.Result), see)
	default:
		c.fail("running", why.Message, see)
	}
}

// restartTime checks that a restart can't take longer than health.timeout, for which a
// rotation waits.
func (c chart) restartTime(v Visit) {
	u := v.Found.Seen.Unit
	if takes := u.RestartTime(); takes > 0 && u.Type != "oneshot" {
		c.passUnless("restart_time", u.SlowProblem(v.Host.Agent.Unit, v.Host.Health.Timeout), "at most "+takes.String())
	}
}

// log checks that the agent's log is a file that can be read.
func (c chart) log(v Visit, facts *host.Facts) {
	switch {
	case facts.LogUnsafe != "":
		c.fail("log", v.Host.Agent.Log+" is a link, and non-root users can write the folder "+facts.LogUnsafe, "set agent.log to the file itself")
	case facts.Log == "file":
		c.ok("log", v.Host.Agent.Log)
	case facts.Log == "missing":
		c.fail("log", v.Host.Agent.Log+" does not exist", "set agent.log in the inventory to what StandardOutput= says: systemctl cat "+v.Host.Agent.Unit)
	default:
		c.fail("log", v.Host.Agent.Log+" is not a regular file", "set agent.log in the inventory to what StandardOutput= says: systemctl cat "+v.Host.Agent.Unit)
	}
}

// accepted checks that the agent was not refused in the last five minutes. It makes no
// check if a file that the agent can't read explains that already.
func (c chart) accepted(v Visit) {
	denied := v.Found.Seen.Health(host.AsFound(v.Host.Health)).Cause()
	switch {
	case !c.passed("certificate_path") || c["certificate_form"].Failed():
	case denied.Kind == host.Denied:
		c.fail("accepted", denied.Message,
			"check that the certificate is registered for the agent's service principal: aoifleet certificate verify")
	case c.passed("log") && v.Found.Seen.Unit.Active == "active" && c.passed("running"):
		c.ok("accepted", "not refused in the last five minutes")
	}
}

// deadMan checks the timer and the boot guard of a rotation (docs/host-side.md). That no
// target wants the unit is left to the check unit if that one fails.
func (c chart) deadMan(v Visit) {
	facts := v.Found.Facts
	// A unit that stays stopped is not started at boot, so no boot guard is needed.
	unwanted := !facts.Wanted && (v.Found.Seen.Unit.Active != "inactive" || !v.mayBeStopped())
	var missing, fixes []string
	miss := func(part, fix string) { missing, fixes = append(missing, part), append(fixes, fix) }
	if !facts.Timer {
		miss("no timer, systemd-run is missing", onTheHost(install(facts, "systemd")))
	}
	if !facts.Guard {
		miss("no boot guard, /etc/systemd/system is not writable", onTheHost("make it writable; see: findmnt -T /etc/systemd/system"))
	}
	if unwanted && c.passed("unit") {
		miss("no boot guard, no target wants "+v.Host.Agent.Unit, onTheHost("systemctl enable "+v.Host.Agent.Unit))
	}
	switch {
	case len(missing) > 0:
		c.fail("dead_man", strings.Join(missing, "; "), strings.Join(fixes, "; ")+"; or rotate without it: --no-deadman")
	case !unwanted || c.passed("unit"):
		c.ok("dead_man", "timer and boot guard")
	}
}

// leftovers checks what earlier runs have left.
func (c chart) leftovers(v Visit) {
	seen := v.Found.Seen
	if seen == nil {
		return
	}
	switch r, unfinished := seen.Unfinished(); {
	case !unfinished:
		c.ok("unfinished", "")
	case r.Holds():
		c.fail("unfinished", fmt.Sprintf("run %s of %s is in progress", r.Run, r.Owner), "wait until it ends")
	default:
		c.failWithCommand("unfinished", r.Interrupted(), "recover")
	}
	if len(seen.Leftover) > 0 {
		c.failWithCommand("leftovers", "leftovers of ended runs: "+strings.Join(seen.Leftover, ", "), "recover")
		return
	}
	c.ok("leftovers", "")
}
