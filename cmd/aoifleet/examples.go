package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples has the examples in the help of each command: command lines, and after a # what they
// do. Tests run them, with an inventory fleet.yaml that has the groups london and paris.
var examples = map[string]string{
	"": `aoifleet plan -i fleet.yaml                     # checks every host, changes nothing
aoifleet rotate -i fleet.yaml                   # shows the plan, asks, carries it out
aoifleet demo                                   # a rotation of simulated VMs, without an inventory`,
	"plan": `aoifleet plan -i fleet.yaml
aoifleet plan -i fleet.yaml -l 'london:!london-edr-01'
aoifleet plan -i fleet.yaml --out plan.json --expires 24h    # for rotate --plan, once it is approved`,
	"plan configure": `aoifleet plan configure -i fleet.yaml --edit '.pipelines[].sink.maximum_parallel_uploads = 20'
aoifleet plan configure -i fleet.yaml -l london --edit 'del(.pipelines[0].sink.block_size)' --out plan.json`,
	"plan upgrade": `aoifleet plan upgrade -i fleet.yaml --to 2.0.0
aoifleet plan upgrade -i fleet.yaml -l london --to 2.0.0-1 --out plan.json --expires 24h`,
	"plan show": `aoifleet plan show plan.json
aoifleet plan show plan.json -o json`,
	"rotate": `aoifleet rotate -i fleet.yaml --rehearse -l london-edr-01    # the first time: on a copy, without a restart
aoifleet rotate -i fleet.yaml                   # shows the plan, asks, carries it out
aoifleet rotate -i fleet.yaml --until canary    # the first wave only
aoifleet rotate -i fleet.yaml --yes -o json     # in a pipeline
aoifleet rotate -i fleet.yaml --yes --report run.html --report run.xml   # for a ticket, for the pipeline's test results`,
	"configure": `aoifleet configure -i fleet.yaml --edit '.pipelines[].sink.maximum_parallel_uploads = 20' --until canary
aoifleet configure -i fleet.yaml --edit '.pipelines[].sink.maximum_parallel_uploads = 20' --dry-run   # with the differences
aoifleet configure -i fleet.yaml --plan plan.json --plan-id ID --yes   # the plan that was approved`,
	"upgrade": `aoifleet upgrade -i fleet.yaml --check         # the versions that the hosts have and can get
aoifleet upgrade -i fleet.yaml --to 2.0.0 --until canary
aoifleet upgrade -i fleet.yaml --to 2.0.0 --edit '.pipelines[].sink.maximum_parallel_uploads = 20' --dry-run
aoifleet upgrade -i fleet.yaml --plan plan.json --plan-id ID --yes   # the plan that was approved`,
	"renew": `aoifleet renew -i fleet.yaml --keys keys --dry-run        # the steps that are due
aoifleet renew -i fleet.yaml --keys keys --yes -o json     # each night; keys/ stays between two nights
aoifleet renew -i fleet.yaml --yes --retire-old-after 7d   # certificates in a Key Vault`,
	"rollback": `aoifleet rollback last -i fleet.yaml --dry-run  # what the newest rotation's undo would do
aoifleet rollback 20261123-084512-K3F9 -i fleet.yaml -l london`,
	"recover": `aoifleet recover -i fleet.yaml --dry-run
aoifleet recover -i fleet.yaml -l london-edr-01`,
	"status": `aoifleet status -i fleet.yaml
aoifleet status -i fleet.yaml --expiring 30d    # exit code 5 if a certificate expires within 30 days
aoifleet status -i fleet.yaml -o prometheus     # for the textfile collector`,
	"doctor": `aoifleet doctor -i fleet.yaml
aoifleet doctor -i fleet.yaml -l london-edr-01 --verbose`,
	"runs": `aoifleet runs list
aoifleet runs show last`,
	"runs report": `aoifleet runs report last --report run.html --report run.md`,
	"runs list": `aoifleet runs list
aoifleet runs list -n 5 -o json`,
	"runs show": `aoifleet runs show last
aoifleet runs show 20261123-084512-K3F9 --steps`,
	"runs watch": `aoifleet runs watch last
aoifleet runs watch 20261123-084512-K3F9 --engine temporal://temporal.example.net/fleet`,
	"runs pause":   `aoifleet runs pause last                         # from another terminal`,
	"runs resume":  `aoifleet runs resume last`,
	"runs stop":    `aoifleet runs stop last                          # as Ctrl-C there`,
	"runs approve": `aoifleet runs approve last                       # after rotate --pause-after canary`,
	"backups": `aoifleet backups list -i fleet.yaml
aoifleet backups prune -i fleet.yaml --dry-run`,
	"backups list": `aoifleet backups list -i fleet.yaml -l london`,
	"backups prune": `aoifleet backups prune -i fleet.yaml --dry-run  # shows what it would remove
aoifleet backups prune -i fleet.yaml --keep 1 --max-age 30d`,
	"gather-diags": `aoifleet gather-diags -i fleet.yaml -l london --dir diags
aoifleet gather-diags -i fleet.yaml -l london-edr-01 --timeout 10m`,
	"hostkeys": `aoifleet hostkeys scan -i fleet.yaml`,
	"hostkeys scan": `aoifleet hostkeys scan -i fleet.yaml            # logs in nowhere
aoifleet hostkeys scan -i fleet.yaml --add      # asks, then adds the new keys to known_hosts
aoifleet hostkeys scan -i fleet.yaml --pin      # lines for the inventory instead`,
	"secret": `aoifleet secret list -i fleet.yaml
aoifleet secret set sftp-password -i fleet.yaml -l london-sftp-01
aoifleet secret hostkey scan -i fleet.yaml -l london`,
	"secret list": `aoifleet secret list -i fleet.yaml
aoifleet secret list -i fleet.yaml -l london -o json`,
	"secret hostkey":      `aoifleet secret hostkey scan -i fleet.yaml`,
	"secret hostkey list": `aoifleet secret hostkey list -i fleet.yaml      # asks the VMs only`,
	"secret hostkey scan": `aoifleet secret hostkey scan -i fleet.yaml      # connects from the VMs, logs in nowhere`,
	"secret hostkey set": `aoifleet secret hostkey set -i fleet.yaml -l london-sftp-01     # shows the keys, asks
aoifleet secret hostkey set sftp.example.net:2222 -i fleet.yaml --dry-run
aoifleet secret hostkey set -i fleet.yaml --fingerprint SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg --yes`,
	"init": `aoifleet init                                   # asks on a terminal, writes fleet.yaml
aoifleet init --hosts azureuser@10.0.0.4,10.0.0.5 --certificate 'certs/{name}.p12.b64'
aoifleet init --hosts-file hosts.txt --user azureuser --jump operator@bastion.example.net`,
	"inventory": `aoifleet inventory validate fleet.yaml
aoifleet inventory list -i fleet.yaml -l 'site=lon*'`,
	"inventory list": `aoifleet inventory list -i fleet.yaml
aoifleet inventory list -i fleet.yaml -l 'site=lon*' -o json`,
	"inventory validate": `aoifleet inventory validate fleet.yaml`,
	"inventory import": `aoifleet inventory import ansible hosts.ini --out fleet.yaml
aoifleet inventory import azure vms.json --out fleet.yaml   # az vm list -d -o json >vms.json`,
	"inventory import ansible": `aoifleet inventory import ansible hosts.ini         # to the standard output
aoifleet inventory import ansible inventories/production --label site --out fleet.yaml
aoifleet inventory import ansible --json list.json   # ansible-inventory -i inventories/production --list >list.json`,
	"inventory import azure": `aoifleet inventory import azure vms.json --out fleet.yaml   # az vm list -d -o json >vms.json
aoifleet inventory import azure vms.json --label site --public`,
	"inventory schema": `aoifleet inventory schema >inventory.schema.json`,
	"configuration": `aoifleet configuration get -i fleet.yaml --dir conf
aoifleet configuration lint conf/*.yaml
aoifleet configuration diff -i fleet.yaml`,
	"configuration lint": `aoifleet configuration lint conf/*.yaml         # exit code 5 if a file has an error
aoifleet configuration lint -o json conf/london-edr-01.yaml`,
	"configuration get":  `aoifleet configuration get -i fleet.yaml --dir conf`,
	"configuration diff": `aoifleet configuration diff -i fleet.yaml --detailed-exitcode   # exit code 3 if one differs`,
	"certificate": `aoifleet certificate new --out certs/fleet.p12.b64
aoifleet certificate inspect certs/fleet.p12.b64
aoifleet certificate register -i fleet.yaml`,
	"certificate new": `aoifleet certificate new --out certs/fleet.p12.b64 --days 730
aoifleet certificate new --per-host -i fleet.yaml -l london
aoifleet certificate new --per-host -i fleet.yaml --csr       # requests for an authority
aoifleet certificate new --in-keyvault contoso-pki/agents --renew-before 30d
aoifleet certificate new --in-keyvault contoso-pki/agents --issuer Unknown   # prints the request`,
	"certificate merge":   `aoifleet certificate merge keyvault://contoso-pki/agents answer.pem   # what the authority returned`,
	"certificate inspect": `aoifleet certificate inspect certs/fleet.p12.b64`,
	"certificate pack": `aoifleet certificate pack --cert agent.pem --key agent.key --out certs/fleet.p12.b64
aoifleet certificate pack --per-host -i fleet.yaml --answers signed    # what the authority returned`,
	"certificate fetch": `aoifleet certificate fetch keyvault://contoso-pki/agents --out certs/fleet.p12.b64
aoifleet certificate fetch keyvault://contoso-pki/agents --out certs/fleet.p12.b64 -i fleet.yaml   # with via: host`,
	"certificate verify": `aoifleet certificate verify -i fleet.yaml
aoifleet certificate verify -i fleet.yaml --wait 5m           # just after register`,
	"certificate register": `aoifleet certificate register -i fleet.yaml     # beside the application's other certificates`,
	"certificate list":     `aoifleet certificate list -i fleet.yaml`,
	"certificate retire": `aoifleet certificate retire 767D38BC0B0F443AD882F5FB6073399E40B0ECE2 -i fleet.yaml
aoifleet certificate retire --expired --unused -i fleet.yaml`,
	"secret set": `aoifleet secret set sftp-password -i fleet.yaml -l london-sftp-01    # asks for the value, twice
aoifleet secret set sftp-password -i fleet.yaml --from-command 'pass show sftp/{name}' --until canary
aoifleet secret set sftp-key -i fleet.yaml --from-file keys/id_ed25519 --passphrase-from-file keys/passphrase --dry-run`,
	"install-helper": `aoifleet install-helper -i fleet.yaml --user admin`,
	"sudoers":        `aoifleet sudoers -i fleet.yaml -l london`,
	"lab": `aoifleet lab                                    # prints what to try; ends with Ctrl-C
aoifleet lab --dir lab --machines 300`,
	"demo": `aoifleet demo`,
	"version": `aoifleet version
aoifleet version -o json`,
	"help": `aoifleet help rotate
aoifleet help selectors`,
	"completion":            `aoifleet completion bash >/etc/bash_completion.d/aoifleet`,
	"completion bash":       `aoifleet completion bash >/etc/bash_completion.d/aoifleet`,
	"completion zsh":        `aoifleet completion zsh >/usr/local/share/zsh/site-functions/_aoifleet`,
	"completion fish":       `aoifleet completion fish >~/.config/fish/completions/aoifleet.fish`,
	"completion powershell": `aoifleet completion powershell`,
}

// addExamples gives every command its examples.
func addExamples(cmd *cobra.Command) {
	if text := examples[verbOf(cmd)]; text != "" {
		cmd.Example = "  " + strings.ReplaceAll(text, "\n", "\n  ")
	}
	for _, sub := range cmd.Commands() {
		addExamples(sub)
	}
}
