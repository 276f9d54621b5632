package lab

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reply is the output of a stand-in and its exit status.
type reply struct {
	out, err []string
	status   int
}

func fail(status int, format string, args ...any) reply {
	return reply{err: strings.Split(fmt.Sprintf(format, args...), "\n"), status: status}
}

// systemdVersion is the output of `systemctl --version`: the version of RHEL 9.
const systemdVersion = "systemd 252 (252-46.el9)"

// call answers one request of a stand-in.
func (d *systemd) call(program string, args []string) reply {
	switch program {
	case "systemctl":
		return d.systemctl(args)
	case "lab-reboot":
		if d.reboot() {
			<-d.ctx.Done()
		}
		return reply{}
	case "systemd-run":
		return d.systemdRun(args)
	}
	return fail(1, "the lab does not know %s", program)
}

// systemctlArgs are the parts of a command line.
type systemctlArgs struct {
	verb       string
	units      []string
	properties []string
	values     bool // --value
	quiet      bool
}

func parseSystemctl(args []string) (c systemctlArgs, problem string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-p" || arg == "--property":
			if i++; i == len(args) {
				return c, "option requires an argument -- 'p'"
			}
			c.properties = append(c.properties, strings.Split(args[i], ",")...)
		case strings.HasPrefix(arg, "--property="):
			c.properties = append(c.properties, strings.Split(strings.TrimPrefix(arg, "--property="), ",")...)
		case arg == "--value":
			c.values = true
		case arg == "-q" || arg == "--quiet":
			c.quiet = true
		case arg == "--version":
			c.verb = arg
		case arg == "--" || arg == "--no-pager" || arg == "--system":
		case strings.HasPrefix(arg, "-"):
			return c, "unrecognized option '" + arg + "'"
		case c.verb == "":
			c.verb = arg
		default:
			c.units = append(c.units, unitName(arg))
		}
	}
	return c, ""
}

// unitName adds the suffix that systemctl(1) adds.
func unitName(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return name + ".service"
}

func (d *systemd) systemctl(args []string) reply {
	c, problem := parseSystemctl(args)
	if problem != "" {
		return fail(1, "systemctl: %s", problem)
	}
	verbs := map[string]func(name string, c systemctlArgs) reply{
		"show": d.show, "start": d.startJob, "stop": d.stopJob, "restart": d.restartJob, "try-restart": d.restartJob,
		"is-active": d.isActive, "is-failed": d.isFailed, "is-enabled": d.isEnabled,
		"reset-failed": d.resetJob, "enable": d.enable, "disable": d.enable, "mask": d.enable, "unmask": d.enable,
	}
	verb, ok := verbs[c.verb]
	switch {
	case c.verb == "--version":
		return reply{out: []string{systemdVersion, "+PAM +AUDIT +SELINUX default-hierarchy=unified"}}
	case c.verb == "daemon-reload":
		d.reload()
		return reply{}
	case !ok:
		return fail(1, "Unknown command verb %s.", c.verb)
	case len(c.units) == 0:
		return fail(1, "Too few arguments.")
	}
	var all reply
	for i, name := range c.units {
		r := verb(name, c)
		if i > 0 && c.verb == "show" {
			all.out = append(all.out, "")
		}
		all.out, all.err, all.status = append(all.out, r.out...), append(all.err, r.err...), max(all.status, r.status)
	}
	return all
}

// loaded returns a service, or nil if systemd would not load it.
func (d *systemd) loaded(name string) *service {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.services[name]
}

// show prints in systemd's own order, not in the requested order. It reports an
// unknown unit as not found and exits with 0.
func (d *systemd) show(name string, c systemctlArgs) reply {
	var r reply
	for _, property := range d.properties(name) {
		key, value, _ := strings.Cut(property, "=")
		if len(c.properties) > 0 && !slices.Contains(c.properties, key) {
			continue
		}
		if c.values {
			property = value
		}
		r.out = append(r.out, property)
	}
	return r
}

func (d *systemd) properties(name string) []string {
	s := d.state(name)
	wanted, owner := "", ""
	if d.loaded(name) != nil {
		owner = d.owner
	}
	if s.File == "enabled" && !d.faults.has(faultNotWanted) {
		wanted = wantingTarget
	}
	var started string
	if s.StartedAt > 0 {
		started = time.Now().Add(-monotonic() + time.Duration(s.StartedAt)*time.Microsecond).UTC().Format("Mon 2006-01-02 15:04:05 UTC")
	}
	return append([]string{
		"Type=simple", "Restart=on-failure",
		"MainPID=" + strconv.Itoa(s.MainPID),
		"Result=" + s.Result,
		"NRestarts=" + strconv.Itoa(s.Restarts),
		"ExecMainStartTimestamp=" + started,
		"ExecMainStartTimestampMonotonic=" + strconv.FormatInt(s.StartedAt, 10),
		"NotifyAccess=none", "TimeoutStartUSec=5s", "TimeoutStopUSec=5s",
		"InactiveExitTimestampMonotonic=" + strconv.FormatInt(s.StartedAt, 10), "ActiveExitTimestampMonotonic=" + strconv.FormatInt(s.leftAt, 10),
		"ExecMainExitTimestampMonotonic=" + strconv.FormatInt(s.exitedAt, 10), "Job=",
		"User=" + owner, "Group=" + owner,
		"Id=" + name, "Names=" + name,
		"WantedBy=" + wanted,
		"LoadState=" + s.Load, "ActiveState=" + s.Active, "SubState=" + s.Sub,
		"UnitFileState=" + s.File,
		"InvocationID=" + s.InvocationID,
	}, d.fileProperties(name)...)
}

func (d *systemd) startJob(name string, _ systemctlArgs) reply {
	s := d.loaded(name)
	if s == nil {
		if argv := d.oneshot(name); argv != nil {
			d.runTimed(d.ctx, argv)
			return reply{}
		}
		return fail(5, "Failed to start %s: Unit %s not found.", name, name)
	}
	s.job.Lock()
	defer s.job.Unlock()
	return d.startNow(s)
}

func (d *systemd) startNow(s *service) reply {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.state.Load == "masked" {
		return fail(1, "Failed to start %s: Unit %s is masked.", s.name, s.name)
	}
	err := d.start(s, false)
	if errors.Is(err, errStartLimit) {
		return fail(1, `Job for %[1]s failed because start of the service was attempted too often.
See "systemctl status %[1]s" and "journalctl -xeu %[1]s" for details.
To force a start use "systemctl reset-failed %[1]s"
followed by "systemctl start %[1]s" again.`, s.name)
	}
	if err != nil {
		return fail(1, "Failed to start %s: %v", s.name, err)
	}
	return reply{}
}

func (d *systemd) stopJob(name string, _ systemctlArgs) reply {
	if d.stopTimer(name) {
		return reply{}
	}
	s := d.loaded(name)
	if s == nil {
		return fail(5, "Failed to stop %s: Unit %s not loaded.", name, name)
	}
	s.job.Lock()
	defer s.job.Unlock()
	d.stop(s)
	return reply{}
}

// restartJob implements restart, and try-restart, which starts no inactive unit.
func (d *systemd) restartJob(name string, c systemctlArgs) reply {
	s := d.loaded(name)
	if s == nil {
		return fail(5, "Failed to restart %s: Unit %s not found.", name, name)
	}
	s.job.Lock()
	defer s.job.Unlock()
	if active := d.state(name).Active; c.verb == "try-restart" && (active == "inactive" || active == "failed") {
		return reply{}
	}
	if slow := d.faults.duration(faultRestartSlow); slow > 0 {
		timer := time.NewTimer(slow)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.ctx.Done():
		}
	}
	if refusal, ok := d.faults.get(faultRestartFails); ok {
		return fail(1, "%s", refusal)
	}
	d.stop(s)
	return d.startNow(s)
}

func (d *systemd) isActive(name string, c systemctlArgs) reply {
	active := d.state(name).Active
	return stateReply(active, active == "active", 3, c)
}

func (d *systemd) isFailed(name string, c systemctlArgs) reply {
	active := d.state(name).Active
	return stateReply(active, active == "failed", 1, c)
}

func (d *systemd) isEnabled(name string, c systemctlArgs) reply {
	file := d.state(name).File
	if file == "" {
		return fail(1, "Failed to get unit file state for %s: No such file or directory", name)
	}
	return stateReply(file, file == "enabled", 1, c)
}

// stateReply returns a reply with a state, and an exit status other than 0 unless yes.
func stateReply(word string, yes bool, status int, c systemctlArgs) reply {
	r := reply{out: []string{word}}
	if c.quiet {
		r.out = nil
	}
	if !yes {
		r.status = status
	}
	return r
}

func (d *systemd) resetJob(name string, _ systemctlArgs) reply {
	if s := d.loaded(name); s != nil {
		d.resetFailed(s)
		return reply{}
	}
	if d.state(name).Load == "loaded" {
		return reply{}
	}
	return fail(1, "Failed to reset failed state of unit %s: Unit %s not loaded.", name, name)
}

// enable implements enable, disable, mask and unmask, which also reload the units (systemctl(1)).
func (d *systemd) enable(name string, c systemctlArgs) reply {
	s := d.loaded(name)
	if s == nil {
		return fail(1, "Failed to %s unit: Unit file %s does not exist.", c.verb, name)
	}
	d.reload()
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string]string{"enable": "enabled", "disable": "disabled", "mask": "masked", "unmask": "enabled"}
	s.state.File = files[c.verb]
	s.state.Load = "loaded"
	if c.verb == "mask" {
		s.state.Load = "masked"
	}
	return reply{}
}
