package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Retention says which backups a host keeps.
type Retention struct {
	Keep   int           // the newest so many; negative: as the inventory has it
	MaxAge time.Duration // none that is older; negative: as the inventory has it
}

// Prune removes backups beyond those to keep. It returns one entry and the number of
// backups removed for each target; an entry's Outcome is set where that failed. When
// ctx ends nothing new begins.
func (f *Fleet) Prune(ctx context.Context, r Retention) (entries []rollout.Entry, removed []int) {
	targets := f.changed(func(h *inventory.Host) {
		if r.Keep >= 0 {
			h.Backups.Keep = r.Keep
		}
		if r.MaxAge >= 0 {
			h.Backups.MaxAge = r.MaxAge
		}
	})
	f.caller.Contact(len(targets))
	return f.runner.Prune(context.WithoutCancel(ctx), ctx, targets)
}

// changed returns the targets with copies of their hosts, changed by change: what
// the inventory has said is not overwritten.
func (f *Fleet) changed(change func(h *inventory.Host)) []rollout.Target {
	targets := slices.Clone(f.Targets)
	for i, t := range targets {
		h := *t.Host
		change(&h)
		targets[i].Host = &h
	}
	return targets
}

// Helper names the helper that InstallHelper installs: its path and version.
func Helper() string { return host.HelperPath + ", version " + host.HelperVersion() }

// InstallHelper installs the hosts' script as a root-owned program, logged in as
// user, or as the inventory's where that is "". It returns one entry and what was
// done for each target; an entry's Outcome is set where that failed. When ctx ends
// nothing new begins.
func (f *Fleet) InstallHelper(ctx context.Context, user string) (entries []rollout.Entry, done []host.Installed) {
	targets := f.changed(func(h *inventory.Host) { h.User = cmp.Or(user, h.User) })
	f.caller.Contact(len(targets))
	return f.runner.InstallHelper(context.WithoutCancel(ctx), ctx, targets)
}

// Sudoers returns the sudoers(5) file that lets the hosts' users run the helper and
// nothing else as root.
func Sudoers(hosts []inventory.Host) (string, error) {
	var rules []string
	defaults := "env_reset, !setenv, !requiretty"
	for _, h := range hosts {
		password := h.Sudo == inventory.SudoPassword
		if h.Sudo == inventory.SudoNone {
			continue
		}
		if password && !strings.Contains(defaults, "passwd_tries") {
			// The question that sudo repeats after a wrong password would count as
			// another failure for pam_faillock(8).
			defaults += ", passwd_tries=1"
		}
		rule, err := host.Sudoers(h.User, password)
		if err != nil {
			return "", usage(fmt.Sprintf("host %s: %v", h.Name, err), problem.As(err).Hint)
		}
		if !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	if len(rules) == 0 {
		return "", usage("these hosts log in as root: sudoers(5) has nothing to say", "see sudo and helper in the inventory")
	}
	return fmt.Sprintf("# /etc/sudoers.d/aoifleet on each host, mode 0440; check it before: visudo -cf FILE\nDefaults!%s %s\n%s\n",
		host.HelperPath, defaults, strings.Join(rules, "\n")), nil
}

// MaxDiagnostics is the size of the largest diagnostics zip that is downloaded by
// default, in bytes.
const MaxDiagnostics = host.MaxDiagnostics

// Diagnosis says how diagnostics are gathered.
type Diagnosis struct {
	Dir     string        // folder for the zips; "": diags-RUN
	Timeout time.Duration // of the diagnostics tool on a host
	MaxSize int64         // of a zip, in bytes
	AsRoot  bool          // run the tool as root
}

// Gather runs the agent's diagnostics tool on every target, many at once, and
// downloads the zips. It returns one Result for each target, whose Outcome is set
// where that failed. When ctx ends connections are cut, and the hosts clean up by
// themselves. The error is that the folder can't be used; no host was contacted then.
func (f *Fleet) Gather(ctx context.Context, d Diagnosis) ([]rollout.Result, error) {
	f.runner.Home = diags.In(cmp.Or(d.Dir, f.runner.Home.Path()))
	if err := f.runner.Home.Check(f.names()); err != nil {
		return nil, err
	}
	defer f.runner.Home.Leave()
	f.caller.Contact(len(f.Targets))
	return f.runner.Gather(ctx, f.Targets, host.Diagnosis{Within: d.Timeout, MaxSize: d.MaxSize, AsRoot: d.AsRoot}), nil
}
