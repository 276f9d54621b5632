package doctor

import (
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// files are the agent's configuration and its certificate.
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
	trouble := seen.File.Problem()
	if trouble != nil && trouble.Hint == "" {
		trouble.Hint = "see on the host: findmnt -T " + display.Sanitise(seen.File.Path, 4096)
	}
	c.passUnless("certificate_path", trouble, pathMessage(seen.File))
	switch {
	case seen.File.Kind == "missing":
		c.ok("certificate_path", "no certificate yet at "+display.Sanitise(seen.File.Path, 4096))
	case seen.File.Kind == "file":
		c.form(v.Found)
	}
}

// pathMessage names a path that can be used, and who else can write there.
func pathMessage(file host.File) string {
	if file.Guarded {
		return file.Path + "; others than root can write its folder, see docs/security.md"
	}
	return file.Path
}

// form: the agent reads one line of base64 and nothing else, with OpenSSL 3.
func (c chart) form(found *host.Examination) {
	form, told := found.Form()
	if !told {
		return
	}
	const name = "certificate_form"
	again := func(message string) { c.settle(name, message, "rotate") }
	odd := form.Strange
	switch {
	case found.Seen.File.Size == 0:
		again("the file is empty")
	case strings.Contains(odd, "X"):
		again("the file is not base64 text: the agent can't read it")
	case strings.Contains(odd, "B"):
		again("the file begins with a byte order mark: the agent can't read it")
	case strings.Contains(odd, "R"):
		again("the file has the line ends of Windows (CRLF): the agent can't read it")
	case odd == "N" && form.NewlineEnds:
		again("the file ends with a newline: the agent can't read it")
	case strings.Contains(odd, "N"):
		again("the file is wrapped over several lines: the agent can't read it")
	case odd != "":
		again("the file has blanks in it: the agent can't read it")
	case !found.Facts.OpenSSL: // said above
	case form.Opens == "legacy":
		again("OpenSSL 3 does not open the file: it is encrypted with RC2, RC4 or DES")
	case form.Opens != "yes":
		again("openssl does not open the file: it is not a P12, or has a passphrase")
	default:
		c.ok(name, "one line, opens with OpenSSL 3")
	}
}

// agent is the unit and what runs of it.
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

func (c chart) unit(v Visit) {
	u, name := v.Found.Seen.Unit, v.Host.Agent.Unit
	reason := u.LoadProblem(name)
	if reason == nil && u.File == "disabled" && !v.mayStop() {
		reason = &problem.Error{Message: name + " is disabled: nothing starts it at boot",
			Hint: "on the host: systemctl enable " + name + "; or set agent.when_stopped: replace"}
	}
	if reason == nil && !(v.mayStop() && u.Active == "inactive") {
		reason = u.Oneshot(name)
	}
	if reason != nil && u.Load == "masked" {
		reason.Hint = "on the host: systemctl unmask " + name
	}
	c.passUnless("unit", reason, u.File)
}

// mayStop: the inventory says that a stopped unit is left alone on purpose.
func (v Visit) mayStop() bool { return v.Host.Agent.WhenStopped == "replace" }

// running warns: it never changes anything, so all that is wrong counts. What the log says
// is a check of its own.
func (c chart) running(v Visit) {
	u, name := v.Found.Seen.Unit, v.Host.Agent.Unit
	look := "look at: journalctl -u " + name + " -n 50; or bring its diagnostics home: aoifleet gather-diags"
	switch why := v.Found.Seen.Health(host.AsFound(v.Host.Health)).Without(host.Denied).First(); why.Kind {
	case host.Healthy:
		c.ok("running", u.Sub)
	case host.Restarting, host.Restarted:
		c.fail("running", name+" exits and is started again", look)
	case host.Exited:
		c.fail("running", name+" is active, but its main process has exited", look)
	case host.Stopped:
		if v.mayStop() {
			c.ok("running", "stopped, as agent.when_stopped: replace allows")
			return
		}
		c.fail("running", name+" is stopped", "on the host: systemctl start "+name+"; or set agent.when_stopped: replace")
	case host.Settling, host.Reloading:
		c.fail("running", name+" is "+u.Active, "wait, or look at: systemctl status "+name)
	case host.Failing:
		c.fail("running", fmt.Sprintf("%s has failed (%s)", name, u.Result), look)
	default:
		c.fail("running", why.Message, look)
	}
}

// restartTime: a rotation waits for a restart as long as health.timeout says.
func (c chart) restartTime(v Visit) {
	u := v.Found.Seen.Unit
	if takes := u.RestartTime(); takes > 0 && u.Type != "oneshot" {
		c.passUnless("restart_time", u.SlowProblem(v.Host.Agent.Unit, v.Host.Health.Timeout), "at most "+takes.String())
	}
}

func (c chart) log(v Visit, facts *host.Facts) {
	switch {
	case facts.LogUnsafe != "":
		c.fail("log", v.Host.Agent.Log+" is a link, and others than root can write the folder "+facts.LogUnsafe, "name the file itself in agent.log")
	case facts.Log == "file":
		c.ok("log", v.Host.Agent.Log)
	case facts.Log == "missing":
		c.fail("log", v.Host.Agent.Log+" does not exist", "set agent.log in the inventory to what StandardOutput= says: systemctl cat "+v.Host.Agent.Unit)
	default:
		c.fail("log", v.Host.Agent.Log+" is not a regular file", "set agent.log in the inventory to what StandardOutput= says: systemctl cat "+v.Host.Agent.Unit)
	}
}

// accepted: whether the agent that runs was refused in the last five minutes. A
// file that it can't read explains that already.
func (c chart) accepted(v Visit) {
	denied := v.Found.Seen.Health(host.AsFound(v.Host.Health)).Cause()
	switch {
	case !c.passed("certificate_path") || c["certificate_form"].Failed():
	case denied.Kind == host.Denied:
		c.fail("accepted", denied.Message,
			"is the certificate registered for the agent's service principal? rotate to one that is: aoifleet certificate verify tells")
	case c.passed("log") && v.Found.Seen.Unit.Active == "active" && c.passed("running"):
		c.ok("accepted", "not refused in the last five minutes")
	}
}

// deadMan: the timer and the boot guard of a rotation (docs/host-side.md). Which
// target wants the unit is the unit's own matter as long as it is not enabled.
func (c chart) deadMan(v Visit) {
	facts := v.Found.Facts
	// A unit that stays stopped is not started, so no boot has to be guarded.
	unwanted := !facts.Wanted && (v.Found.Seen.Unit.Active != "inactive" || !v.mayStop())
	var halves, mends []string
	miss := func(half, mend string) { halves, mends = append(halves, half), append(mends, mend) }
	if !facts.Timer {
		miss("no timer, systemd-run is not there", onTheHost(install(facts, "systemd")))
	}
	if !facts.Guard {
		miss("no boot guard, /etc/systemd/system can't be written", onTheHost("make it writable, findmnt -T /etc/systemd/system shows what it is on"))
	}
	if unwanted && c.passed("unit") {
		miss("no boot guard, no target wants "+v.Host.Agent.Unit, onTheHost("systemctl enable "+v.Host.Agent.Unit))
	}
	switch {
	case len(halves) > 0:
		c.fail("dead_man", strings.Join(halves, "; "), strings.Join(mends, "; ")+"; or go without: --no-deadman")
	case !unwanted || c.passed("unit"):
		c.ok("dead_man", "timer and boot guard")
	}
}

// traces are those of earlier runs.
func (c chart) traces(v Visit) {
	seen := v.Found.Seen
	if seen == nil {
		return
	}
	switch r, unfinished := seen.Unfinished(); {
	case !unfinished:
		c.ok("unfinished", "")
	case r.Holds():
		c.fail("unfinished", fmt.Sprintf("run %s of %s is at work", r.Run, r.Owner), "wait until it has ended")
	default:
		c.settle("unfinished", r.Interrupted(), "recover")
	}
	if len(seen.Leftover) > 0 {
		c.settle("leftovers", "ended runs have left: "+strings.Join(seen.Leftover, ", "), "recover")
		return
	}
	c.ok("leftovers", "")
}
