package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

type helperFlags struct {
	user string
	yes  bool
}

func (a *app) installHelperCommand() *cobra.Command {
	var flags helperFlags
	cmd := &cobra.Command{Use: "install-helper", Short: "Install the hosts' side as a root-owned program, for accounts that may run nothing else as root",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.installHelper(flags) }}
	a.fleetFlags(cmd)
	cmd.Flags().StringVar(&flags.user, "user", "", "log in as `USER`, who may run any command as root, instead of the inventory's")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) installHelper(flags helperFlags) error {
	if err := a.mayAsk(changeFlags{yes: flags.yes}); err != nil {
		return err
	}
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	if flags.user != "" {
		for i := range f.targets {
			f.targets[i].Host.User = flags.user
		}
	}
	if !flags.yes && !a.agree(fmt.Sprintf("install %s, version %s, on %s?", host.HelperPath, host.HelperVersion(), inventory.HostCount(len(f.targets)))) {
		a.code = exitEnded
		return nil
	}
	a.signals.heed()
	entries, done := f.runner.InstallHelper(context.WithoutCancel(a.ctx), a.ctx, f.targets)
	f.progress.Done()
	a.code = seenCode(a, entries)
	if asJSON, _ := a.json(); asJSON {
		_ = f.document(report.HelperHosts(entries, done), a.code).Write(a.stdout) // which remembers
		return nil
	}
	report.Helpers(a.stdout, entries, done)
	return nil
}

func (a *app) sudoersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sudoers", Short: "Print the sudoers rule that lets the inventory's users run the helper and nothing else as root",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.sudoers() }}
	cmd.Flags().StringVarP(&a.inventoryFile, "inventory", "i", "", "inventory `FILE` (also AOIFLEET_INVENTORY)")
	cmd.Flags().StringVar(&a.limit, "limit", "", "only the users of these `HOSTS`: names, groups, globs, label=value; a,b  a:&b  !c")
	return cmd
}

func (a *app) sudoers() error {
	_, hosts, err := a.load()
	if err != nil {
		return err
	}
	var rules []string
	defaults := "env_reset, !setenv, !requiretty"
	for _, h := range hosts {
		password := h.Sudo == inventory.SudoPassword
		if h.Sudo == inventory.SudoNone {
			continue
		}
		if password && !strings.Contains(defaults, "passwd_tries") {
			// The question that sudo puts in vain after a wrong password would
			// count as another failure for pam_faillock(8).
			defaults += ", passwd_tries=1"
		}
		rule, err := host.Sudoers(h.User, password)
		if err != nil {
			return usage(fmt.Sprintf("host %s: %v", h.Name, err), host.AsProblem(err).Hint)
		}
		if !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	if len(rules) == 0 {
		return usage("these hosts log in as root: sudoers(5) has nothing to say", "see sudo and helper in the inventory")
	}
	fmt.Fprintf(a.stdout, "# /etc/sudoers.d/aoifleet on each host, mode 0440; check it before: visudo -cf FILE\nDefaults!%s %s\n", host.HelperPath, defaults)
	for _, rule := range rules {
		fmt.Fprintln(a.stdout, rule)
	}
	return nil
}
