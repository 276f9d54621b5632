package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/newcert"
)

type fetchFlags struct {
	selection
	out, cloud string
	force      bool
}

func certificateFetchCommand(call *invocation) *cobra.Command {
	var flags fetchFlags
	cmd := &cobra.Command{Use: "fetch keyvault://VAULT/NAME[/VERSION]", Short: "Download a certificate and its key from a Key Vault, as the agent's file", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runFetch(call, args[0], flags) }}
	f := cmd.Flags()
	f.StringVarP(&flags.out, "out", "O", "", "`FILE` to write, mode 0600")
	f.BoolVar(&flags.force, "force", false, "replace the file if it exists")
	flags.addInventoryFor(cmd, "inventory `FILE` whose azure: names the cloud (also AOIFLEET_INVENTORY)")
	f.StringVar(&flags.cloud, "cloud", "", "Azure `CLOUD` instead of the inventory's: public, usgovernment or china")
	return cmd
}

func runFetch(call *invocation, source string, flags fetchFlags) error {
	ref, err := certsource.ParseVault(source)
	if err != nil {
		return err
	}
	if flags.out == "" {
		return usage("fetch needs --out", "aoifleet certificate fetch "+ref.String()+" --out certs/"+ref.Name+".p12.b64")
	}
	if err := newcert.CheckOut(flags.out, flags.force); err != nil {
		return err
	}
	cloud, err := cloudOf(call, flags.selection, flags.cloud)
	if err != nil {
		return err
	}
	reader := call.caller(nil).Reader(cloud)
	if err := reader.Check(); err != nil {
		return err
	}
	fmt.Fprintf(call.stderr, "asking vault %s\n", ref.Vault)
	c, err := reader.Fetch(call.ctx, ref)
	if err != nil {
		return err
	}
	return writeP12(call, flags.out, c, flags.force)
}

// cloudOf returns the named cloud, otherwise the inventory's if one is given.
func cloudOf(call *invocation, s selection, named string) (azurecloud.Settings, error) {
	file := s.file(call.getenv)
	if named != "" || file == "" {
		return azurecloud.Settings{Name: named}, nil
	}
	inv, err := inventory.Load(file, inventory.Env{User: call.user, Home: call.home})
	if err != nil {
		return azurecloud.Settings{}, err
	}
	return inv.Azure, nil
}
