package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

func secretCommand(call *invocation) *cobra.Command {
	help := func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd := &cobra.Command{Use: "secret", Short: "Set and check the secrets of the agents' SFTP sources and the host keys of their servers", Args: cobra.NoArgs, RunE: help}
	hostkey := &cobra.Command{Use: "hostkey", Short: "Check and set the host keys of the agents' SFTP servers", Args: cobra.NoArgs, RunE: help}
	var listed, known, scanned selection
	list := &cobra.Command{Use: "list", Short: "List every agent's file secrets: age, owner, mode and form, never a value", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runSecretList(call, listed) }}
	hostkeyList := &cobra.Command{Use: "list", Short: "List the keys of each SFTP server that the VM knows", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runSecretHostkey(call, known, false) }}
	scan := &cobra.Command{Use: "scan", Short: "Get the keys of each SFTP server from the VM, and show which are known, new or changed", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runSecretHostkey(call, scanned, true) }}
	for c, s := range map[*cobra.Command]*selection{list: &listed, hostkeyList: &known, scan: &scanned} {
		s.add(c)
		call.outputFlag(c)
	}
	hostkey.AddCommand(hostkeyList, scan, secretHostkeySetCommand(call))
	cmd.AddCommand(secretSetCommand(call), list, hostkey)
	return cmd
}

func runSecretList(call *invocation, hosts selection) error {
	f, err := call.open(hosts.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	found := f.Inspect(call.ctx, false)
	rows, wrong := report.Secrets(found)
	call.exit(inspectedCode(found, wrong))
	if call.json() {
		call.print(report.SecretsDocument{Head: call.head(), Hosts: rows})
		return nil
	}
	report.View{Width: call.outWidth}.Secrets(call.stdout, rows, time.Now())
	return nil
}

func runSecretHostkey(call *invocation, hosts selection, scan bool) error {
	f, err := call.open(hosts.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	found := f.Inspect(call.ctx, scan)
	rows, wrong := report.SourceKeys(found)
	call.exit(inspectedCode(found, wrong))
	if call.json() {
		call.print(report.SourceKeysDocument{Head: call.head(), Hosts: rows})
		return nil
	}
	report.View{Width: call.outWidth}.SourceKeys(call.stdout, rows)
	return nil
}

// inspectedCode returns 4 if a host could not be reached, 5 if something is wrong or could
// not be asked.
func inspectedCode(found []fleet.Inspected, wrong bool) int {
	code := problem.ExitOK
	if wrong {
		code = problem.ExitRefused
	}
	for _, h := range found {
		if h.Err == nil {
			continue
		}
		code = problem.ExitRefused
		if p := problem.As(h.Err); p != nil && p.Class.ExitCode() == problem.ExitUnreachable {
			return problem.ExitUnreachable
		}
	}
	return code
}
