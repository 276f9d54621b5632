package configuration

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// schema has a line for each key that the vendor documents: its path, what it holds (a key of
// kinds), and how much it is needed: "required" (the agent can't work without it) or "expected".
// Keys that are not here are the agent's own. The keys under server, filtering and scheduling of
// an SFTP source may also be directly under sftp_pull, as the vendor's pages have both.
const schema = `
agent_id                                                     identifier  required
secret_providers                                             list        expected
secret_providers[].name                                      text        required
secret_providers[].key_vault                                 keys
secret_providers[].key_vault.vault_name                      vault       required
secret_providers[].key_vault.managed_identity                keys
secret_providers[].key_vault.managed_identity.object_id      guid        required
secret_providers[].key_vault.service_principal               keys
secret_providers[].key_vault.service_principal.tenant_id     text        required
secret_providers[].key_vault.service_principal.client_id     guid        required
secret_providers[].key_vault.service_principal.cert_path     absolute    required
secret_providers[].file_system                               keys
secret_providers[].file_system.secrets_directory             absolute    required
pipelines                                                    list        required
pipelines[].id                                               identifier  required
pipelines[].sink                                             keys        required
pipelines[].sink.container_name                              container   required
pipelines[].sink.base_path                                   text
pipelines[].sink.maximum_parallel_uploads                    count
pipelines[].sink.block_size                                  size
pipelines[].sink.sas_token                                   keys        expected
pipelines[].sink.sas_token.secret_provider                   provider    required
pipelines[].sink.sas_token.secret_name                       text        required
pipelines[].sink.sas_token.cache_period                      duration
pipelines[].source                                           keys        required
pipelines[].source.mcc_edrs                                  keys
pipelines[].source.mcc_edrs.message_queue_capacity           size
pipelines[].source.mcc_edrs.maximum_overall_capacity         size
pipelines[].source.mcc_edrs.listener                         keys
pipelines[].source.mcc_edrs.listener.port                    port
pipelines[].source.mcc_edrs.listener.soft_maximum_message_size size
pipelines[].source.mcc_edrs.listener.hard_maximum_message_size size
pipelines[].source.mcc_edrs.batching                         keys
pipelines[].source.mcc_edrs.batching.maximum_blob_size       size
pipelines[].source.mcc_edrs.batching.blob_rollover_period    duration
pipelines[].source.sftp_pull                                 keys
pipelines[].source.sftp_pull.server                          keys
pipelines[].source.sftp_pull.host                            text        required
pipelines[].source.sftp_pull.port                            port
pipelines[].source.sftp_pull.known_hosts_file                text
pipelines[].source.sftp_pull.user                            text        required
pipelines[].source.sftp_pull.password                        keys
pipelines[].source.sftp_pull.password.secret_provider        files       required
pipelines[].source.sftp_pull.password.secret_name            file        required
pipelines[].source.sftp_pull.private_key                     keys
pipelines[].source.sftp_pull.private_key.secret_provider     files       required
pipelines[].source.sftp_pull.private_key.key_secret_name     file        required
pipelines[].source.sftp_pull.private_key.passphrase_secret_name file
pipelines[].source.sftp_pull.filtering                       keys
pipelines[].source.sftp_pull.base_path                       text        expected
pipelines[].source.sftp_pull.include_pattern                 pattern
pipelines[].source.sftp_pull.exclude_pattern                 pattern
pipelines[].source.sftp_pull.settling_time                   duration
pipelines[].source.sftp_pull.exclude_before_time             time
pipelines[].source.sftp_pull.scheduling                      keys
pipelines[].source.sftp_pull.cron                            cron        expected
`

// oneOf has the keys of which exactly one must be there.
var oneOf = map[string][]string{
	"secret_providers[]":           {"key_vault", "file_system"},
	"secret_providers[].key_vault": {"managed_identity", "service_principal"},
	"pipelines[].source":           {"mcc_edrs", "sftp_pull"},
	"pipelines[].source.sftp_pull": {"password", "private_key"},
}

// unique has the keys whose value differs in each item of the list.
var unique = []string{"secret_providers[].name", "pipelines[].id"}

// grouping are the keys of sftp_pull that only group others.
var grouping = []string{"server", "filtering", "scheduling"}

// rule is a line of schema.
type rule struct{ kind, need string }

// rules has the lines of schema by path, and children the names of the keys below each path.
var rules, children = readSchema()

func readSchema() (map[string]rule, map[string][]string) {
	rules, children := map[string]rule{}, map[string][]string{}
	for line := range strings.Lines(strings.TrimSpace(schema)) {
		words := append(strings.Fields(line), "")
		path := words[0]
		rules[path] = rule{words[1], words[2]}
		parent := ""
		if dot := strings.LastIndexByte(path, '.'); dot > 0 {
			parent = path[:dot]
		}
		children[parent] = append(children[parent], path[strings.LastIndexByte(path, '.')+1:])
	}
	return rules, children
}

// kind tells what a scalar must look like.
type kind struct {
	number  bool                // a number, not text
	pattern *regexp.Regexp      // that the value matches; nil: any
	check   func(string) string // what is wrong with a value, or ""; nil: nothing
	be, fix string              // "must be …", and the hint
}

// kinds has what a scalar may hold. The limits are the vendor's and Azure's.
var kinds = map[string]kind{
	"text":       {be: "text"},
	"provider":   {be: "the name of one of secret_providers"},
	"files":      {be: "the name of one of secret_providers"},
	"identifier": {pattern: regexp.MustCompile(`^([^\x00- :/?#\[\]@!$&'()*+,;=%]|%[0-9A-Fa-f]{2})+$`), be: "text without a reserved character of URLs or a space"},
	"vault":      {pattern: regexp.MustCompile(`^[A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z]$`), be: "the name of a Key Vault", fix: "3 to 24 letters, digits and hyphens, not the address of the vault"},
	"container":  {pattern: regexp.MustCompile(`^(\$root|\$logs|\$web|[0-9a-z]([0-9a-z-]{1,61})[0-9a-z])$`), be: "the name of a container", fix: "3 to 63 lower-case letters, digits and hyphens"},
	"guid":       {pattern: regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`), be: "an ID as 00000000-0000-0000-0000-000000000000", fix: "copy it from the Azure portal"},
	"absolute":   {pattern: regexp.MustCompile(`^/`), be: "an absolute path", fix: "start it with /"},
	"file":       {pattern: regexp.MustCompile(`^[^/.][^/]*$`), be: "the name of a file in the secrets directory", fix: "give the name only, without a folder"},
	"count":      {number: true, pattern: regexp.MustCompile(`^[1-9][0-9]{0,8}$`), be: "a number of at least 1", fix: "leave it out for the default"},
	"port":       {number: true, check: port, be: "a number from 1 to 65535"},
	"size":       {pattern: regexp.MustCompile(`^[0-9]+(\.[0-9]+)? *([KMG]i)?B$`), be: "a size with its unit, as 32 MiB", fix: "the units are B, KiB, MiB and GiB"},
	"duration":   {pattern: regexp.MustCompile(`^([0-9]+ *(ms|s|m|h|d) *)+$`), be: "a duration with its unit, as 10m", fix: "the units are s, m, h and d"},
	"pattern":    {check: pattern, be: "a regular expression"},
	"time":       {check: timestamp, be: "a time in RFC 3339", fix: "as 2026-11-30T00:00:00Z"},
	"cron":       {check: cron, be: "seven fields: second, minute, hour, day of the month, month, day of the week, year", fix: `in UTC; "0 */5 * * * * *" is every five minutes`},
}

// canonical returns the path in schema of a key at path.
func canonical(path, key string) string {
	if path == "" {
		return key
	}
	const sftp = "pipelines[].source.sftp_pull"
	for _, group := range grouping {
		if path == sftp+"."+group {
			path = sftp
		}
	}
	return path + "." + key
}

// isText tells whether the agent reads a scalar as text. YAML 1.1 has numbers with "_", which
// the agent's reader takes for text.
func isText(n *yaml.Node) bool {
	switch n.Tag {
	case "!!int", "!!float":
		return strings.Contains(n.Value, "_")
	case "!!bool", "!!null":
		return false
	}
	return true
}
