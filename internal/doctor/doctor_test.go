package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

const unit = "az-aoi-ingestion.service"

// healthyVisit returns a visit on which no check fails.
func healthyVisit() Visit {
	facts := &host.Facts{Clock: true, Installer: "dnf", Systemd: "systemd 252 (252-46.el9)", Timer: true, Guard: true, Wanted: true, Log: "file", OpenSSL: true, Hardlinks: "1", Symlinks: "1", LogSpace: 1 << 30}
	facts.SetForm("/c.p12", host.Form{Opens: "yes"})
	seen := &host.Observation{Unit: host.Unit{Type: "simple", Load: "loaded", Active: "active", Sub: "running", File: "enabled", StopTime: 90 * time.Second, StartTime: 90 * time.Second}, Space: 1 << 30,
		Configured: "digest", Config: host.AgentConfig{ListenerPort: 36001},
		Provider: &host.Provider{Name: "p", Path: "/c.p12"}, File: host.File{Path: "/c.p12", Real: "/c.p12", Kind: "file", Size: 2000}}
	agent := inventory.Agent{Unit: unit, Log: "/log", WhenStopped: "refuse"}
	return Visit{Host: inventory.Host{Name: "a-1", Agent: agent, Sudo: inventory.SudoPasswordless, Health: inventory.Health{Timeout: 2 * time.Minute}}, Found: &host.Examination{Root: true, Facts: facts, Seen: seen, Needs: healthyNeeds()}}
}

// healthyNeeds are those of an agent with one SFTP source and one listener.
func healthyNeeds() host.Needs {
	const key = "SHA256:x"
	known := host.KnownServer{Server: host.Server{Endpoint: host.Endpoint{Host: "s", Port: 22}, KnownHosts: "/k"}, Known: []host.KnownKey{{Type: "ssh-rsa", Fingerprint: key}}}
	secret := host.Secret{FileSecret: host.FileSecret{Name: "pw", Path: "/s/pw", Kind: "password"}, State: "file", Form: ".", Owner: "agent", Mode: "600", Size: 6}
	return host.Needs{
		Inspected: &host.Inspection{User: "agent", Secrets: []host.Secret{secret}, Servers: []host.KnownServer{known}, Firewall: host.Firewall{State: "none"}},
		Login:     []host.Reached{{Endpoint: host.Endpoint{Host: "login", Port: 443}}}, Vaults: []host.Reached{{Endpoint: host.Endpoint{Host: "v", Port: 443}}},
		Servers: []host.Reached{{Endpoint: host.Endpoint{Host: "s", Port: 22}, Keys: []remote.HostKey{{Type: "ssh-rsa", Fingerprint: key}}}},
	}
}

func failedOf(checks []Check) (failed []Check) {
	for _, c := range checks {
		if c.Failed() {
			failed = append(failed, c)
		}
	}
	return failed
}

func TestHealthy(t *testing.T) {
	checks := Checks(healthyVisit())
	for i, c := range checks {
		if c.Name != Names[i] || c.OK == nil || !*c.OK || c.Hint != "" || c.Command != nil {
			t.Errorf("%+v", c)
		}
	}
	if len(checks) != len(Names) || healthyVisit().Unreachable() || healthyVisit().Interrupted() {
		t.Error(len(checks))
	}
}

func fails(class problem.Class) error {
	return &problem.Error{Class: class, Message: "why", Hint: "how"}
}

// fault is one fault of a host, and the one check that fails.
type fault struct {
	name    string
	change  func(v *Visit)
	failed  string // the check
	message string // in message and fix
	// unchecked are checks that were not made, "*" all that come after the one
	// that failed.
	unchecked []string
}

// ofNeeds are the checks that need the agent's configuration.
var ofNeeds = []string{"entra", "vault", "source_server", "source_host_key", "secrets", "firewall"}

var faults = []fault{
	{"no connection", func(v *Visit) { v.DialErr, v.Found = fails(problem.Unreachable), nil }, "reach", "why how", []string{"*"}},
	{"time is up", func(v *Visit) { v.DialErr, v.Found = fails(problem.Timeout), nil }, "reach", "why", []string{"*"}},
	{"changed key", func(v *Visit) { v.DialErr, v.Found = fails(problem.HostKeyChanged), nil }, "host_key", "why", []string{"*"}},
	{"unknown key", func(v *Visit) { v.DialErr, v.Found = fails(problem.HostKeyUnknown), nil }, "host_key", "why", []string{"*"}},
	{"refused login", func(v *Visit) { v.DialErr, v.Found = fails(problem.Authentication), nil }, "authentication", "why", []string{"*"}},
	{"no key to log in with", func(v *Visit) {
		v.DialErr, v.Found = &remote.DialError{Base: problem.Error{Class: problem.Authentication, Message: "why"}, Untried: true}, nil
	}, "authentication", "why", []string{"jump", "reach", "host_key", "*"}},
	{"jump host unreachable", func(v *Visit) {
		v.DialErr, v.Found = &remote.DialError{Base: problem.Error{Class: problem.Authentication, Message: "jump host b: why"}, Hop: "b"}, nil
	}, "jump", "jump host b: why", []string{"*"}},
	{"contact lost", func(v *Visit) { v.Found = &host.Examination{Root: true, Err: fails(problem.Unreachable)} }, "reach", "why", []string{"*"}},
	{"contact lost later", func(v *Visit) { v.Found.Seen, v.Found.SeenErr = nil, fails(problem.Unreachable) }, "reach", "why", []string{"*"}},

	{"no SFTP", func(v *Visit) { v.Found.SFTP = fails(problem.Command) }, "sftp", "why how", nil},
	{"no sudo", func(v *Visit) {
		v.Found = &host.Examination{Err: &problem.Error{Class: problem.Sudo, Message: "why", Hint: "how"}}
	}, "sudo", "why how", []string{"*"}},
	{"another shell", func(v *Visit) {
		v.Found = &host.Examination{Err: &remote.ExitError{Status: 3, Stderr: "boom"}}
	}, "sudo", "boom", []string{"*"}},
	{"no helper", func(v *Visit) {
		v.Host.Helper, v.Found = host.HelperPath, &host.Examination{Err: &problem.Error{Class: problem.Configuration, Message: "why"}}
	}, "helper", "why", []string{"sudo", "*"}},
	{"helper that refuses", func(v *Visit) {
		v.Host.Helper, v.Found = host.HelperPath, &host.Examination{Root: true, Err: &problem.Error{Class: problem.Configuration, Message: "why"}}
	}, "helper", "why", []string{"*"}},
	{"old helper", func(v *Visit) {
		v.Host.Helper, v.Found.OldHelper, v.Found.Facts = host.HelperPath, true, nil
	}, "helper", "than this program aoifleet install-helper", []string{"tools", "systemd", "openssl", "clock", "log_space", "agent_tools", "protected_links", "certificate_form", "log", "accepted", "dead_man"}},
	{"script cut short", func(v *Visit) {
		v.Found = &host.Examination{Root: true, Err: &problem.Error{Class: problem.Command, Message: "why"}}
	}, "script", "why", []string{"*"}},
	{"observation takes too long", func(v *Visit) { v.Found.Seen, v.Found.SeenErr = nil, context.DeadlineExceeded }, "script", "did not answer in time",
		append([]string{"space", "configuration", "certificate_path", "certificate_form", "unit", "running", "restart_time", "accepted", "dead_man", "unfinished", "leftovers"}, ofNeeds...)},

	{"no tools", func(v *Visit) { v.Found.Facts.Lacks, v.Found.Seen = []string{"flock", "awk", "cp", "mv"}, nil }, "tools",
		"the host has no flock, awk, cp, mv on the host: dnf install util-linux gawk coreutils",
		append([]string{"space", "configuration", "certificate_path", "certificate_form", "unit", "running", "restart_time", "accepted", "dead_man", "unfinished", "leftovers"}, ofNeeds...)},
	{"old systemd", func(v *Visit) { v.Found.Facts.Systemd = "systemd 238 (x)" }, "systemd", "systemd 238 is older than 239", nil},
	{"another init", func(v *Visit) { v.Found.Facts.Systemd = "" }, "systemd", "reports no version", nil},
	{"no openssl", func(v *Visit) {
		v.Found.Facts.OpenSSL, v.Found.Facts.Installer = false, "rm -rf /"
		v.Found.Facts.SetForm("/c.p12", host.Form{})
	}, "openssl", "on the host: install openssl", []string{"certificate_form"}},
	{"clock ahead", func(v *Visit) { v.Found.Facts.Ahead = 31 * time.Second }, "clock", "31s ahead of the workstation's: tokens are refused on the host: timedatectl", nil},
	{"clock behind", func(v *Visit) { v.Found.Facts.Ahead = -2 * time.Minute }, "clock", "2m0s behind the workstation's", nil},
	{"no clock", func(v *Visit) { v.Found.Facts.Clock = false }, "clock", "does not report its time", nil},
	{"hard links", func(v *Visit) { v.Found.Facts.Hardlinks, v.Found.Facts.Symlinks = "0", "0" }, "protected_links",
		"fs.protected_hardlinks is 0: users can link files of others into their own folders on the host: sysctl -w fs.protected_hardlinks=1; to keep it: ", nil},
	{"odd answer for hard links", func(v *Visit) { v.Found.Facts.Hardlinks = "2" }, "protected_links", "is 2", nil},
	{"full disk", func(v *Visit) { v.Found.Seen.Space = 1<<20 - 1 }, "space", "1023 kB", nil},

	{"configuration", func(v *Visit) {
		v.Found.Seen.Provider, v.Found.SeenErr = nil, &problem.Error{Class: problem.Configuration, Message: "why", Hint: "how"}
	}, "configuration", "why how", append([]string{"certificate_path", "certificate_form", "accepted"}, ofNeeds...)},
	{"no folder", func(v *Visit) { v.Found.Seen.File.Kind = "nodir" }, "certificate_path", "the folder of /c.p12 does not exist", []string{"certificate_form", "accepted"}},
	{"unsafe folder", func(v *Visit) { v.Found.Seen.File.Unsafe = "/tmp" }, "certificate_path", "chmod go-w /tmp", []string{"accepted"}},
	{"read-only folder", func(v *Visit) { v.Found.Seen.File.ReadOnly = true }, "certificate_path", "read-only see on the host: findmnt -T /c.p12", []string{"accepted"}},

	{"masked unit", func(v *Visit) { v.Found.Seen.Unit = host.Unit{Load: "masked", Active: "inactive"} }, "unit", "systemctl unmask " + unit, []string{"running", "restart_time", "accepted"}},
	{"no unit", func(v *Visit) { v.Found.Seen.Unit, v.Found.Facts.Wanted = host.Unit{Load: "not-found"}, false }, "unit", "not known to systemd",
		[]string{"running", "restart_time", "accepted", "dead_man"}},
	{"disabled unit", func(v *Visit) { v.Found.Seen.Unit.File, v.Found.Facts.Wanted = "disabled", false }, "unit", "systemctl enable " + unit, []string{"dead_man"}},
	{"stopped", func(v *Visit) { v.Found.Seen.Unit.Active = "inactive" }, "running", "systemctl start " + unit, []string{"accepted"}},
	{"failed", func(v *Visit) { v.Found.Seen.Unit.Active, v.Found.Seen.Unit.Result = "failed", "exit-code" }, "running", "has failed (exit-code) see: journalctl", []string{"accepted"}},
	{"crash loop", func(v *Visit) { v.Found.Seen.Unit.Active, v.Found.Seen.Unit.Sub = "activating", "auto-restart" }, "running", "exits and is started again", []string{"accepted"}},
	{"crash loop, between two exits", func(v *Visit) {
		now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
		v.Host.Health.Window = 15 * time.Second
		v.Found.Seen.Clock, v.Found.Seen.Unit.Restarts, v.Found.Seen.Unit.Started = now, 1, now.Add(-14*time.Second)
	}, "running", "exits and is started again", []string{"accepted"}},
	{"starting", func(v *Visit) { v.Found.Seen.Unit.Active = "activating" }, "running", "is activating", []string{"accepted"}},
	{"main process gone", func(v *Visit) { v.Found.Seen.Unit.Sub = "exited" }, "running", "its main process has exited", []string{"accepted"}},
	{"port closed", func(v *Visit) { v.Found.Seen.PortClosed, v.Found.Seen.Config.ListenerPort = true, 36001 }, "running", "nothing listens on port 36001 see: journalctl", []string{"accepted"}},
	{"oneshot", func(v *Visit) { v.Found.Seen.Unit.Type = "oneshot" }, "unit", "is Type=oneshot: whether the agent runs is unknown set agent.unit", []string{"restart_time"}},
	{"slow to stop", func(v *Visit) { v.Found.Seen.Unit.StopTime = 121 * time.Second }, "restart_time",
		"may take 2m1s, longer than health.timeout (2m0s) set health.timeout to 2m1s or more", nil},
	{"slow to start", func(v *Visit) { v.Found.Seen.Unit.Type = "notify" }, "restart_time", "may take 3m0s", nil},
	{"no limit", func(v *Visit) { v.Found.Seen.Unit.StopTime = host.Endless }, "restart_time", "has no time-out, and health.timeout is 2m0s set TimeoutStopSec=", nil},
	{"no log", func(v *Visit) { v.Found.Facts.Log = "missing" }, "log", "/log does not exist set agent.log", []string{"accepted"}},
	{"log through another's link", func(v *Visit) { v.Found.Facts.LogUnsafe = "/var/log/x" }, "log",
		"/log is a link, and non-root users can write the folder /var/log/x set agent.log to the file itself", []string{"accepted"}},
	{"odd log", func(v *Visit) { v.Found.Facts.Log = "other" }, "log", "not a regular file", []string{"accepted"}},
	{"refused", func(v *Visit) { v.Found.Seen.Denied = "AADSTS1" }, "accepted", "AADSTS1 check that the certificate is registered", nil},

	{"no timer", func(v *Visit) { v.Found.Facts.Timer = false }, "dead_man", "no timer, systemd-run is missing on the host: dnf install systemd; or rotate without it: --no-deadman", nil},
	{"no guard", func(v *Visit) { v.Found.Facts.Guard = false }, "dead_man", "no boot guard, /etc/systemd/system is not writable", nil},
	{"unwanted", func(v *Visit) { v.Found.Facts.Wanted = false }, "dead_man", "no target wants " + unit + " on the host: systemctl enable", nil},
	{"both halves", func(v *Visit) { v.Found.Facts.Guard, v.Found.Facts.Timer = false, false }, "dead_man", "systemd-run is missing; no boot guard", nil},

	{"interrupted run", func(v *Visit) { v.Found.Seen.Receipts = []host.Receipt{{State: "undoing", Run: "R", Owner: "me"}} }, "unfinished",
		"run R of me was interrupted (undoing) aoifleet recover", nil},
	{"run at work", func(v *Visit) {
		v.Found.Seen.Receipts = []host.Receipt{{State: "pending", Run: "R", Owner: "me", AtWork: true}}
	}, "unfinished", "in progress wait", nil},
	{"leftovers", func(v *Visit) { v.Found.Seen.Leftover = []string{"x", "y"} }, "leftovers", "x, y aoifleet recover", nil},
}

func TestFaults(t *testing.T) {
	all := slices.Clone(faults)
	for form, says := range map[host.Form]string{
		{Strange: "XX"}:                    "is not base64",
		{Strange: "BBB"}:                   "byte order mark",
		{Strange: "RNRN"}:                  "CRLF",
		{Strange: "N", NewlineEnds: true}:  "ends with a newline",
		{Strange: "NN", NewlineEnds: true}: "wrapped",
		{Strange: "N"}:                     "wrapped",
		{Strange: "ST"}:                    "blanks",
		{Opens: "legacy"}:                  "RC2",
		{Opens: "no"}:                      "not a P12, with a passphrase, or with PBMAC1",
	} {
		all = append(all, fault{"form " + form.Strange + form.Opens,
			func(v *Visit) { v.Found.Facts.SetForm("/c.p12", form) }, "certificate_form", says, []string{"accepted"}})
	}
	all = append(all, fault{"empty file", func(v *Visit) { v.Found.Seen.File.Size = 0 }, "certificate_form", "empty aoifleet rotate", []string{"accepted"}})
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			v := healthyVisit()
			s.change(&v)
			s.check(t, Checks(v))
		})
	}
}

func (s fault) check(t *testing.T, checks []Check) {
	failed := failedOf(checks)
	if len(failed) != 1 || failed[0].Name != s.failed {
		t.Fatalf("failed: %+v", failed)
	}
	c := failed[0]
	fix := c.Hint + strings.Join(c.Command, " ")
	if said := c.Message + " " + fix; !strings.Contains(said, s.message) {
		t.Errorf("%q", said)
	}
	place := slices.Index(Names, s.failed)
	for i, c := range checks {
		unchecked := slices.Contains(s.unchecked, c.Name) || i > place && slices.Contains(s.unchecked, "*")
		if (c.OK == nil) != unchecked {
			if s.failed == "sudo" || s.failed == "helper" || s.failed == "script" {
				if c.Name == "sftp" { // which needs no root
					continue
				}
			}
			t.Errorf("%+v, want unchecked: %v", c, unchecked)
		}
	}
}

// Unusual hosts on which nothing is wrong.
func TestNothingIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(v *Visit)
		unchecked []string
	}{
		"managed identity":   {func(v *Visit) { v.Found.Seen.Provider = nil }, nil},
		"no certificate":     {func(v *Visit) { v.Found.Seen.File.Kind = "missing" }, []string{"certificate_form"}},
		"path by inventory":  {func(v *Visit) { v.Found.Seen.Provider.Name = "" }, nil},
		"root":               {func(v *Visit) { v.Host.Sudo, v.Host.Helper = inventory.SudoNone, host.HelperPath }, nil},
		"helper":             {func(v *Visit) { v.Host.Helper = host.HelperPath }, nil},
		"password":           {func(v *Visit) { v.Host.Sudo = inventory.SudoPassword }, nil},
		"jump hosts":         {func(v *Visit) { v.Jumps = []string{"b-1", "b-2"} }, nil},
		"almost in time":     {func(v *Visit) { v.Found.Facts.Ahead = -30 * time.Second }, nil},
		"symbolic links":     {func(v *Visit) { v.Found.Facts.Symlinks = "0" }, nil},
		"no report of links": {func(v *Visit) { v.Found.Facts.Hardlinks, v.Found.Facts.Symlinks = "", "" }, []string{"protected_links"}},
		"agent's folder":     {func(v *Visit) { v.Found.Seen.File.Guarded = true }, nil},
		"systemd 239":        {func(v *Visit) { v.Found.Facts.Systemd = "systemd 239" }, nil},
		"stopped on purpose": {func(v *Visit) {
			v.Host.Agent.WhenStopped, v.Found.Facts.Wanted = "replace", false
			v.Found.Seen.Unit.Active, v.Found.Seen.Unit.File = "inactive", "disabled"
		}, []string{"accepted"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := healthyVisit()
			c.change(&v)
			checks := Checks(v)
			if failed := failedOf(checks); failed != nil {
				t.Errorf("%+v", failed)
			}
			for _, check := range checks {
				if (check.OK == nil) != slices.Contains(c.unchecked, check.Name) {
					t.Errorf("%+v", check)
				}
			}
		})
	}
}

// Messages of checks that do not fail.
func TestMessages(t *testing.T) {
	v := healthyVisit()
	v.Found.Seen.File.Guarded, v.Found.Facts.Symlinks = true, "0"
	unknown := healthyVisit()
	unknown.Found.Facts.Hardlinks = ""
	for _, c := range []struct {
		v             Visit
		name, message string
	}{
		{v, "certificate_path", "/c.p12; non-root users can write its folder, see docs/security.md"},
		{v, "protected_links", "fs.protected_symlinks is not 1"},
		{healthyVisit(), "certificate_path", "/c.p12"},
		{healthyVisit(), "protected_links", "hard and symbolic links"},
		{unknown, "protected_links", "the host does not report fs.protected_hardlinks"},
	} {
		check := Checks(c.v)[slices.Index(Names, c.name)]
		if !strings.Contains(check.Message, c.message) || check.Failed() {
			t.Errorf("%+v, want %q", check, c.message)
		}
	}
	if message := Checks(healthyVisit())[slices.Index(Names, "certificate_path")].Message; message != "/c.p12" {
		t.Errorf("root's own folder: %q", message)
	}
}

func TestInterrupted(t *testing.T) {
	for _, v := range []Visit{
		{DialErr: context.Canceled},
		{DialErr: &problem.Error{Class: problem.Timeout, Message: "connecting interrupted", Err: context.Canceled}},
		{Found: &host.Examination{Root: true, SeenErr: errors.Join(context.Canceled)}},
	} {
		if !v.Interrupted() || v.Unreachable() {
			t.Errorf("%+v", v)
		}
		for _, c := range Checks(v) {
			if c.OK != nil {
				t.Errorf("%+v", c)
			}
		}
	}
}
