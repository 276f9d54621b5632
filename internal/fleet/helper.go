package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Helper returns the path and version of the helper that InstallHelper installs.
func Helper() string { return host.HelperPath + ", version " + host.HelperVersion() }

// InstallHelper installs the hosts' script as a root-owned program. It returns one
// entry and what was done for each target; an entry's Outcome is set if that failed. When
// ctx ends no further host starts.
func (f *Fleet) InstallHelper(ctx context.Context) (entries []rollout.Entry, done []host.Installed) {
	f.caller.Contact(len(f.Targets))
	return f.runner.InstallHelper(context.WithoutCancel(ctx), ctx, f.Targets)
}

// Sudoers returns the sudoers(5) file that lets the hosts' users run the helper and
// nothing else as root.
func (f *Fleet) Sudoers() (string, error) {
	var rules []string
	defaults := "env_reset, !setenv, !requiretty"
	for _, t := range f.Targets {
		h := t.Host
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
		return "", usage("these hosts log in as root and need no sudoers rule", "see sudo and helper in the inventory")
	}
	return fmt.Sprintf("# /etc/sudoers.d/aoifleet on each host, mode 0440; check it first: visudo -cf FILE\nDefaults!%s %s\n%s\n",
		host.HelperPath, defaults, strings.Join(rules, "\n")), nil
}
