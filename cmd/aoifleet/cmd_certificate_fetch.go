package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/fleet"
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
	flags.addForVault(cmd)
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
	reader, closeAll, err := vaultReader(call, flags.selection, flags.cloud)
	if err != nil {
		return err
	}
	defer closeAll()
	fmt.Fprintf(call.stderr, "asking vault %s\n", ref.Vault)
	c, err := reader.Fetch(call.ctx, ref)
	if err != nil {
		return err
	}
	return writeP12(call, flags.out, c, flags.force)
}

// vaultReader returns a reader of the vaults of the named cloud, otherwise of the inventory's if
// one is given: that may lead through its hosts. Call closeAll after use.
func vaultReader(call *invocation, s selection, cloud string) (reader *certsource.Reader, closeAll func(), err error) {
	if s.limit != "" && s.file(call.getenv) == "" {
		return nil, nil, usage("--limit needs an inventory", "name one with -i FILE")
	}
	if cloud != "" || s.file(call.getenv) == "" {
		reader, closeAll = call.caller(nil).Reader(azurecloud.Settings{Name: cloud}), func() {}
	} else if reader, closeAll, err = fleet.OpenReader(call.ctx, call.caller(nil), s.request(call, fleet.None)); err != nil {
		return nil, nil, err
	}
	return reader, closeAll, reader.Check()
}
