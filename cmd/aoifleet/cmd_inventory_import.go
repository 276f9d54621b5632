package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/newinventory"
)

type importFlags struct {
	out            string
	labels, groups []string
	json, public   bool
}

func inventoryImportCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Write an inventory of what Ansible or Azure has", Args: cobra.NoArgs,
		Long: "Write an inventory of what Ansible or Azure has, to be reviewed and kept. It does not follow its source: an approved plan is for an inventory that does not change.\n\n" +
			"What is not carried over is listed, on stderr and in the file. Passwords are never copied.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var a, z importFlags
	ansible := &cobra.Command{Use: "ansible FILE|DIR", Short: "Import an inventory of Ansible, as ansible-inventory reads it", Args: cobra.ExactArgs(1),
		Long: "Import an inventory of Ansible, as ansible-inventory reads it. That program executes code: plugins and scripts of the inventory, and what ansible.cfg names.\n\n" +
			"With --json nothing is run: FILE is what ansible-inventory --list has printed; - is the standard input.",
		RunE: func(_ *cobra.Command, args []string) error { return runImportAnsible(call, a, args[0]) }}
	a.add(ansible, "variable `NAME` to keep as a label; may be repeated")
	ansible.Flags().StringArrayVar(&a.groups, "group", nil, "`NAME` of a group that its hosts are in here, rather than in their first; may be repeated")
	ansible.Flags().BoolVar(&a.json, "json", false, "read what ansible-inventory --list has printed, and run nothing")
	azure := &cobra.Command{Use: "azure FILE", Short: "Import the list of VMs that az vm list -d -o json prints; -: the standard input", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runImportAzure(call, z, args[0]) }}
	z.add(azure, "tag `NAME` to keep as a label, and no other tag; may be repeated")
	azure.Flags().BoolVar(&z.public, "public", false, "the addresses are the public ones, not the private ones")
	cmd.AddCommand(ansible, azure)
	return cmd
}

func (flags *importFlags) add(cmd *cobra.Command, labels string) {
	cmd.Flags().StringVarP(&flags.out, "out", "O", "", "new `FILE` to write; default: the standard output")
	cmd.Flags().StringArrayVar(&flags.labels, "label", nil, labels)
}

func runImportAnsible(call *invocation, flags importFlags, source string) error {
	var text []byte
	var said bool
	var err error
	if flags.json {
		text, err = readSource(call, source)
	} else {
		text, said, err = newinventory.RunAnsible(call.ctx, source)
	}
	if err != nil {
		return err
	}
	draft, err := newinventory.FromAnsible(text, flags.labels, flags.groups, call.inventoryEnv())
	if err == nil && said {
		draft.Note("ansible-inventory printed warnings; see them with: ansible-inventory -i " + display.Arg(source) + " --graph")
	}
	return call.imported(draft, err, flags.out)
}

func runImportAzure(call *invocation, flags importFlags, source string) error {
	text, err := readSource(call, source)
	if err != nil {
		return err
	}
	draft, err := newinventory.FromAzure(text, flags.labels, flags.public, call.inventoryEnv())
	return call.imported(draft, err, flags.out)
}

// imported writes an imported inventory, and lists what it does not have of its source.
func (call *invocation) imported(draft *newinventory.Draft, err error, out string) error {
	if err != nil {
		return err
	}
	if out != "" {
		err = call.writeInventory(draft, out)
	} else if text, wrong := draft.Text("", call.inventoryEnv()); wrong != nil {
		err = wrong
	} else {
		_, _ = call.stdout.Write(text) // stdout keeps the error
	}
	if err != nil {
		return err
	}
	for _, note := range draft.Notes() {
		fmt.Fprintln(call.stderr, "review: "+display.MaskLines(note))
	}
	return nil
}
