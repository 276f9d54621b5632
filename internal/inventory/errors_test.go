package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestAllErrorsAtOnce(t *testing.T) {
	got := problems(t, `version: 2
defaults:
  prot: 22
  port: "22"
  sudo: sometimes
  agent: {unit: -x.service, widow: 3}
  window: 3s
hosts:
  vm-1: {address: 10.0.0.5:22}
  vm-1: {}
grups: {}
rollout: {parallel: 0}
`)
	want := []string{
		"1:10 the inventory's version is unknown | this program reads version: 1",
		`3:3 unknown key "prot" in defaults | did you mean "port"?`,
		"4:9 port must be a whole number from 1 to 65535",
		"5:9 sudo must be none, passwordless or {password_from: …}",
		"6:17 agent.unit is not the name of a systemd service",
		`6:29 unknown key "widow" in agent`,
		`7:3 unknown key "window" in defaults | "window" belongs under health`,
		`9:19 address "10.0.0.5:22" contains a port | set the port with the key "port"`,
		`10:3 host "vm-1" is defined twice; first at inv.yaml:9:3 | a host belongs to one group; use labels for a second grouping`,
		`11:1 unknown key "grups" in the inventory | did you mean "groups"?`,
		"12:21 rollout.parallel must be a whole number from 1 to 100000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A defect of the file as a whole gives exactly the expected errors.
func TestDocumentErrors(t *testing.T) {
	const fine = "version: 1\nhosts: {a: }\n"
	const shared = ` | put what hosts share under "defaults" or a group`
	cases := []struct{ name, text, want string }{
		{"empty", "", `1:1 the file is empty | start it with "version: 1" and a "hosts:" section`},
		{"comment only", "# nothing\n", `1:1 the file is empty | start it with "version: 1" and a "hosts:" section`},
		{"null", "---\n", `1:1 the file is empty | start it with "version: 1" and a "hosts:" section`},
		{"a list", "- a\n", "1:1 the inventory must be a mapping (lines of key: value)"},
		{"no version", "hosts: {a: }\n", "1:1 the inventory has no version | start the file with version: 1"},
		{"text version", "version: \"1\"\nhosts: {a: }\n", "1:10 the inventory's version is unknown | this program reads version: 1"},
		{"no hosts", "version: 1\n", `1:1 the inventory has no hosts | list them under "hosts" or "groups"`},
		{"no hosts in groups", "version: 1\nhosts: {}\ngroups: {a: {hosts: }}\n", `1:1 the inventory has no hosts | list them under "hosts" or "groups"`},
		{"second document", fine + "---\nversion: 1\n", "3:1 a second YAML document (after ---) is not read | leave only one document in the file"},
		{"second document broken", fine + "---\n[", "4:0 not valid YAML at or after this line: did not find expected node content"},
		{"broken after the document", "hosts\n- a\n  : b\n", "3:0 not valid YAML at or after this line: did not find expected <document start>"},
		{"Ansible INI", "[web]\nhost1\n", "2:0 not valid YAML at or after this line: did not find expected <document start> | this looks like an Ansible inventory in INI; here it is YAML: \"version: 1\" and a \"hosts:\" section"},
		{"Ansible INI, host first", "host1\n[web:children]\n", "1:1 the file is not an inventory | this looks like an Ansible inventory in INI; here it is YAML: \"version: 1\" and a \"hosts:\" section"},
		{"control character", "version: 1\n# é\x1b[31m\n", "2:4 the file has a control character (U+001B) | delete it; cat -v shows where"},
		{"not UTF-8", "version: 1\n# \xe9\n", "2:3 the file is not UTF-8 text | save it as UTF-8"},
		{"UTF-16", "\xff\xfev\x00", "1:1 the file is not UTF-8 text | save it as UTF-8"},
		{"byte order mark counts nothing", "\xef\xbb\xbf\x1b", "1:1 the file has a control character (U+001B) | delete it; cat -v shows where"},
		{"a path of Windows in double quotes", "version: 1\ndefaults: {identity_file: \"C:\\Users\\me\\key\"}\n", "2:0 not valid YAML at or after this line: did not find expected hexdecimal number | a \\ between double quotes needs another before it: write a path of Windows without quotes, or with /"},
		{"unclosed", "version: 1\nhosts: {a: {port 3}\n  b: {}\n", "2:0 not valid YAML at or after this line: did not find expected ',' or '}'"},
		{"unknown anchor", "version: *x\n", "1:10 YAML aliases (*name) are not read" + shared},
		{"anchor", "version: 1\nhosts: {a: &x {}}\n", "2:12 YAML anchors (&name) are not read" + shared},
		{"alias", "version: 1\nhosts: {a: &x {}, b: *x}\n",
			"2:12 YAML anchors (&name) are not read" + shared + "\n2:22 YAML aliases (*name) are not read" + shared},
		{"merge key", "version: 1\nhosts: {a: {<<: {port: 1}}}\n", "2:13 YAML merge keys (<<) are not read" + shared},
		{"tag", "version: 1\nhosts: {a: {user: !vault x}}\n", "2:19 YAML tags (!name) are not read"},
		{"panics yaml.v3", "[1]: 2\n<<: {a: 1}\n", "1:1 a key of the inventory must be a string | quote text that starts with \"[\" or \"{\"\n" +
			"1:1 the inventory has no version | start the file with version: 1\n2:1 YAML merge keys (<<) are not read" + shared},
		{"duplicate key", fine + "version: 1\n", `3:1 "version" is given twice; first at inv.yaml:1:1`},
		{"tab, last line", "version: 1\nhosts:\n\ta: {}", "3:0 not valid YAML at or after this line: found character that cannot start any token | YAML indents with spaces, not tabs"},
		{"tab", "version: 1\nhosts:\n\ta: {}\n", "3:0 not valid YAML at or after this line: found character that cannot start any token | YAML indents with spaces, not tabs"},
		{"hosts as a list", "version: 1\nhosts: [a]\n", "2:8 hosts must be a mapping from name to settings | write \"name: {}\" for each, not \"- name\""},
		{"hosts as a text", "version: 1\nhosts: a\n", "2:8 hosts must be a mapping (lines of key: value)"},
		{"hosts under another name", "version: 1\nHosts: {a: }\n", `2:1 unknown key "Hosts" in the inventory | did you mean "hosts"?`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := problems(t, c.text)
			want := strings.Split(c.want, "\n")
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// Inside {…}, YAML reads a range without quotes as a list.
func TestUnquotedRange(t *testing.T) {
	for _, c := range []struct{ text, at, quoted string }{
		{"hosts: {a-[1-2]: {}}\n", "2:9", "a-[1-2]"},
		{"hosts: {a-[1-2]: {}}", "2:9", "a-[1-2]"},
		{"hosts:\n  a-[1-2]: {address: 10.0.0.[1-2]}\n", "3:22", "10.0.0.[1-2]"},
		{"hosts:\n  a-[1-2]: {port: 22, address: vm-[01-02].example.net}\n", "3:32", "vm-[01-02].example.net"},
		{"hosts:\n  a-[1-2]: {\n    port: 22,\n    address: 10.0.0.[1-2]\n  }\n", "5:14", "10.0.0.[1-2]"},
		{"hosts:\r\n  a-[1-2]: {address: 10.0.0.[1-2]}\r\n", "3:22", "10.0.0.[1-2]"},
	} {
		got := problems(t, "version: 1\n"+c.text)
		want := fmt.Sprintf("| a range inside {…} needs quotes: %q", c.quoted)
		if len(got) != 1 || !strings.HasPrefix(got[0], c.at+" ") || !strings.HasSuffix(got[0], want) {
			t.Errorf("%q: got %q, want it at %s with %q", c.text, got, c.at, want)
		}
	}
	if got := hostNames(parse(t, "version: 1\nhosts:\n  a-[1-2]:\n    address: 10.0.0.[1-2]\n").Hosts); got != "a-1 a-2" {
		t.Errorf("a range outside of {…} needs no quotes, got %q", got)
	}
}

// Inside {…}, YAML reads {name} as a mapping.
func TestUnquotedName(t *testing.T) {
	for _, c := range []struct{ text, at, quoted string }{
		{"defaults: {certificate: certs/{name}.b64}\nhosts: {a: }\n", "2:25", "certs/{name}.b64"},
		{"hosts:\n  a: {\n    port: 22, certificate: {name}.b64 }\n", "4:28", "{name}.b64"},
	} {
		got := problems(t, "version: 1\n"+c.text)
		want := fmt.Sprintf("| {name} inside {…} needs quotes: %q", c.quoted)
		if len(got) != 1 || !strings.HasPrefix(got[0], c.at+" ") || !strings.HasSuffix(got[0], want) {
			t.Errorf("%q: got %q, want it at %s with %q", c.text, got, c.at, want)
		}
	}
}

// Each setting gives exactly the expected error; "" for a valid value.
func TestSettings(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	const vaultForms = "write it as keyvault://VAULT/NAME or keyvault://VAULT/NAME/VERSION"
	const print = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
	const notPrint = "host_key_fingerprint is not the SHA-256 fingerprint of a key | ssh-keygen -lf KEY.pub prints it: SHA256: and 43 characters"
	cases := []struct{ setting, want string }{
		{"user: [a]", "user must be a single string"},
		{"user: 5", "user must be a string | put it in quotes to make it a string"},
		{`user: "5"`, ""},
		{"user:", "user has no value | leave it out"},
		{`user: ""`, "user is empty | leave it out"},
		{"user: -oProxyCommand=x", `user starts with "-"`},
		{"user: a b", "user has a space or an unprintable character"},
		{`user: "a\nb"`, "user must be one line without control characters"},
		{`user: "a\u202eb"`, "user has an invisible character | the invisible character U+202E is in it: write nothing"},
		{`user: 'CORP\ops'`, ""},
		{"port: 0", "port must be a whole number from 1 to 65535"},
		{"port: 65535", ""},
		{"port: 65536", "port must be a whole number from 1 to 65535"},
		{"port: 022", "port must be a whole number from 1 to 65535"},
		{"port: 0x16", "port must be a whole number from 1 to 65535"},
		{"port: -1", "port must be a whole number from 1 to 65535"},
		{"port: 99999999999999999999", "port must be a whole number from 1 to 65535"},
		{"port: [22]", "port must be a whole number from 1 to 65535"},
		{"identity_file: []", "identity_file must be a file path or a list of them | write none for ssh-agent"},
		{"identity_file: [~/a, 5]", "identity_file must be a string | put it in quotes to make it a string"},
		{"identity_file: ~bob/key", "identity_file: ~ means your own home directory only, as in ~/file"},
		{`identity_file: "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0"`, "identity_file must be one line without control characters"},
		{"known_hosts: {a: b}", "known_hosts must be a single string"},
		{"certificate: certs/{host}.b64", "certificate: only {name} is replaced in it | {name} stands for the host's name"},
		{"certificate: " + long, "certificate is longer than 1024 bytes"},
		{"certificate: keyvault://vault/name", ""},
		{"certificate: KeyVault://vault/{name}/0123456789abcdef0123456789abcdef", ""},
		{"certificate: keyvault://vault", "certificate does not name a vault and a certificate | " + vaultForms},
		{"certificate: keyvault://vault/a/b/c", "certificate does not name a vault and a certificate | " + vaultForms},
		{"certificate: keyvault://vault/{host}", "certificate: only {name} is replaced in it | {name} stands for the host's name"},
		{"certificate: https://example.net/c", "certificate must be a file path"},
		{"certificate: {command: \"op read 'op://Fleet/{name}/p12' | awk '{print $1}'\"}", ""},
		{"certificate: {}", "certificate has no command"},
		{"certificate: {command: \"\"}", "certificate.command is empty | leave it out"},
		{"certificate: {command: [a]}", "certificate.command must be a single string"},
		{"certificate: {file: a}", `unknown key "file" in certificate`},
		{"certificate: {command: a, env: B}", `unknown key "env" in certificate`},
		{"certificate: {command: \"cat ${name}\"}", "certificate.command has ${name} | {name} stands for the host's name: give the shell's variable another"},
		{"certificate: [a]", "certificate must be a single string"},
		{"verify: none", ""},
		{"verify: entra", ""},
		{"verify: yes", "verify must be none or entra"},
		{"via: host", ""},
		{"via: bastion", "via must be workstation or host"},
		{"ssh_config: none", ""},
		{"ssh_config: ~/x", ""},
		{"ssh_config: [a]", "ssh_config must be a single string"},
		{"jump: [a]", ""},
		{"jump: u@a:22", ""},
		{"jump: [[a]]", "jump must be a single string"},
		{`jump: ["u@[::1]:22", "[::1]", "::1"]`, ""},
		{"jump: []", "jump must be [user@]host[:port] or a list of them | write none to connect directly"},
		{"jump: {a: b}", "jump must be [user@]host[:port] or a list of them | write none to connect directly"},
		{"jump: [a, a, a, a, a, a, a, a, a]", "jump has more than 8 jump hosts"},
		{"jump: a:0", "jump: the port after the colon must be a whole number from 1 to 65535"},
		{"jump: a:ssh", "jump: the port after the colon must be a whole number from 1 to 65535"},
		{`jump: "@a"`, "jump: the user before @ is empty"},
		{"jump: -oProxyCommand=x@a", `jump: the user before @ starts with "-"`},
		{"jump: -oProxyCommand=x", `jump: host "-oProxyCommand=x" starts with "-" | write [user@]host[:port]`},
		{"jump: a b", `jump: host "a b" is not a host name or IP address | write [user@]host[:port]`},
		{"jump: a,b", `jump: host "a,b" is not a host name or IP address | write [user@]host[:port]`},
		{"strict_host_key_checking: true", ""},
		{"strict_host_key_checking: accept-new", ""},
		{"strict_host_key_checking: no", "strict_host_key_checking must be yes or accept-new | an unknown host key is never accepted blindly"},
		{"strict_host_key_checking: [yes]", "strict_host_key_checking must be yes or accept-new | an unknown host key is never accepted blindly"},
		{"host_key_fingerprint: " + print, ""},
		{"host_key_fingerprint: [" + print + ", " + print + "]", ""},
		{"host_key_fingerprint: SHA256:x", notPrint},
		{"host_key_fingerprint: [" + print + ", 5]", "host_key_fingerprint must be a string | put it in quotes to make it a string"},
		{"host_key_fingerprint: " + print + "=", notPrint},
		{"host_key_fingerprint: " + strings.TrimPrefix(print, "SHA256:"), notPrint},
		{"host_key_fingerprint: MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", notPrint},
		{"host_key_fingerprint: []", "host_key_fingerprint must be a fingerprint or a list of them | write none to use known_hosts"},
		{"password_from: ask", ""},
		{"password_from: none", ""},
		{"password_from: {file: ~/pw}", ""},
		{"password_from: {env: SSH_PASSWORD}", ""},
		{"password_from: {env: _pw9}", ""},
		{"password_from: {command: pass show fleet | head -n 1}", ""},
		{"password_from: geheim", "password_from " + secretForms + " | the inventory must not contain the secret itself"},
		{"password_from: {}", "password_from " + secretForms + ": exactly one of them"},
		{"password_from: {file: a, env: B}", "password_from " + secretForms + ": exactly one of them"},
		{"password_from: {fil: a}", `unknown key "fil" in password_from | did you mean "file"?`},
		{"password_from: {env: $PW}", "password_from.env is not the name of an environment variable | write the variable's name, without $"},
		{"password_from: {env: 1PW}", "password_from.env is not the name of an environment variable | write the variable's name, without $"},
		{`password_from: {command: "a\nb"}`, "password_from.command must be one line without control characters"},
		{"passphrase_from: {ask: true}", `unknown key "ask" in passphrase_from`},
		{"sudo: {password_from: ask}", ""},
		{"sudo: {password_from: {file: pw}}", ""},
		{"sudo: {password_from: none}", "sudo.password_from " + secretForms + " | the inventory must not contain the secret itself"},
		{"sudo: {}", "sudo has no password_from"},
		{"sudo: {password: x}", `unknown key "password" in sudo`},
		{"sudo: [x]", "sudo must be none, passwordless or {password_from: …}"},
		{"connect_timeout: 0s", "connect_timeout must be above 0"},
		{"connect_timeout: 15", "connect_timeout needs a unit | write 15s, 15m, 15h or 15d: seconds, minutes, hours or days"},
		{"connect_timeout: 25h", "connect_timeout must be at most 24h"},
		{"connect_timeout: 1d", ""},
		{"connect_timeout: 999999999d", "connect_timeout must be at most 24h"},
		{"connect_timeout: 0.5d1h", ""},
		{"connect_timeout: 106751d23h47m16.854775808s", "connect_timeout must be at most 24h"}, // 2^63 ns
		{"connect_timeout: 1d-1h", `connect_timeout must be a duration such as 15s or 2m, not "1d-1h" | units are ms, s, m, h and d`},
		{"connect_timeout: soon", `connect_timeout must be a duration such as 15s or 2m, not "soon" | units are ms, s, m, h and d`},
		{"health: {window: 0s}", ""},
		{"health: {window: 0}", ""},
		{"health: {window: -1s}", "health.window must not be negative"},
		{"health: {timeout: 0s}", "health.timeout must be above 0"},
		{"health: {timeout: }", "health.timeout must be a duration such as 15s or 2m"},
		{"health: {expect: a}", `health.expect must be a list of regular expressions | write ["pattern"]`},
		{"health: {deny: none}", `health.deny must be a list of regular expressions | write ["pattern"]`},
		{"health: {deny: ['']}", "health.deny is empty | leave it out"},
		{`health: {deny: ["a\nb"]}`, "health.deny must be one line without control characters"},
		{`health: {deny: ["a\0b"]}`, "health.deny must be one line without control characters"},
		{"health: {deny: ['a(']}", "health.deny: not a POSIX extended regular expression: missing closing ): `a(`"},
		{`health: {deny: ['\d+']}`, "health.deny: not a POSIX extended regular expression: invalid escape sequence: `\\d`"},
		{"health: {deny: ['(?i)a']}", "health.deny: not a POSIX extended regular expression: missing argument to repetition operator: `?`"},
		{`health: {deny: ["a\ue000("]}`, "health.deny: not a POSIX extended regular expression: missing closing ): `a?(`"},
		{"health: {deny_default: maybe}", "health.deny_default must be true or false"},
		{`health: {deny_default: "true"}`, "health.deny_default must be true or false"},
		{"health: {deny_default: off}", ""},
		{`health: {command: "a\nb"}`, "health.command must be one line without control characters"},
		{"health: {confirm_timeout: 3m}", ""},
		{"health: {confirm_timeout: 0s}", "health.confirm_timeout must be above 0"},
		{"health: {confirm_timeout: 3}", "health.confirm_timeout needs a unit | write 3s, 3m, 3h or 3d: seconds, minutes, hours or days"},
		{"health: fine", "health must be a mapping (lines of key: value)"},
		{"agent: {unit: agent}", `agent.unit must end in ".service" | the agent's is az-aoi-ingestion.service`},
		{"agent: {unit: a b.service}", "agent.unit is not the name of a systemd service"},
		{"agent: {unit: ../x.service}", "agent.unit is not the name of a systemd service"},
		{"agent: {unit: a@.service}", "agent.unit is not the name of a systemd service"},
		{"agent: {unit: .service}", "agent.unit is not the name of a systemd service"},
		{"agent: {unit: a@b.service}", ""},
		{"agent: {package: agent-2.x+1}", ""},
		{"agent: {package: -e}", "agent.package is not the name of a package: a-z, 0-9, +, . and -, at most 100 characters | the agent's is az-aoi-ingestion"},
		{"agent: {package: Agent}", "agent.package is not the name of a package: a-z, 0-9, +, . and -, at most 100 characters | the agent's is az-aoi-ingestion"},
		{`agent: {package: "a b"}`, "agent.package is not the name of a package: a-z, 0-9, +, . and -, at most 100 characters | the agent's is az-aoi-ingestion"},
		{"agent: {config: etc/x}", "agent.config must be an absolute path on the host"},
		{"agent: {config: /etc/../x}", `agent.config must not contain ".."`},
		{"agent: {config: /etc/..}", `agent.config must not contain ".."`},
		{"agent: {config: /etc/a..b}", ""},
		{"agent: {log: /var/log/}", "agent.log must name a file, not a folder"},
		{`agent: {log: "/var\n/log"}`, "agent.log must be one line without control characters"},
		{"agent: {certificate_path: ~/c}", "agent.certificate_path must be an absolute path on the host"},
		{`agent: {configuration: "conf/{host}.yaml"}`, "agent.configuration: only {name} is replaced in it | {name} stands for the host's name"},
		{"agent: {configuration: https://example.net/c}", "agent.configuration must be a file path"},
		{"agent: {when_stopped: replaced}", `agent.when_stopped must be refuse or replace | did you mean "replace"?`},
		{"backups: {keep: 1}", ""},
		{"backups: {keep: 0}", "backups.keep must be a whole number from 1 to 100"},
		{"backups: {keep: 101}", "backups.keep must be a whole number from 1 to 100"},
		{"backups: {max_age: 1d}", ""},
		{"backups: {max_age: 36h}", "backups.max_age must be whole days, such as 90d"},
		{"backups: {max_age: 0d}", "backups.max_age must be whole days, such as 90d"},
		{"backups: {max_age: 3651d}", "backups.max_age must be whole days, such as 90d"},
		{"backups: {max_age: [1d]}", "backups.max_age must be whole days, such as 90d"},
		{"backups: {kep: 3}", `unknown key "kep" in backups | did you mean "keep"?`},
		{"labels: [a]", "labels must be a mapping (lines of key: value)"},
		{"labels: {a: }", "label a must have a single value"},
		{"labels: {a: [b]}", "label a must have a single value"},
		{`labels: {a: "\e[31m"}`, "label a has an unprintable character"},
		{"labels: {a b: c}", `label "a b" has a character other than letters, digits, ".", "_" and "-"`},
		{"labels: {a: b, a: c}", `label "a" is given twice`},
		{"address: x", `unknown key "address" in defaults | "address" belongs in a host`},
		{"rollout: {}", `unknown key "rollout" in defaults | "rollout" belongs at the top level`},
		{"canary: 1", `unknown key "canary" in defaults | "canary" belongs under rollout`},
		{"ansible_user: x", `unknown key "ansible_user" in defaults | it is called "user" here`},
		{`"a\eb": x`, `unknown key "a\x1bb" in defaults`},
		{"agent: {unit: a.service, unit: b.service}", `"unit" is given twice; first at inv.yaml:4:11`},
	}
	for _, c := range cases {
		got := problems(t, "version: 1\nhosts: {a: }\ndefaults:\n  "+c.setting+"\n")
		for i := range got {
			_, got[i], _ = strings.Cut(got[i], " ")
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("%.60s\ngot  %s\nwant %s", c.setting, s, c.want)
		}
	}
}

func TestRolloutErrors(t *testing.T) {
	const amount = "rollout.max_failures must be a count of at least 1, or a percentage from 1% to 100%"
	for setting, want := range map[string]string{
		"max_failures: 0":                     amount,
		"max_failures: 0%":                    amount,
		"max_failures: 101%":                  amount,
		"max_failures: 12.5%":                 amount,
		"max_failures: -1":                    amount,
		"max_failures: [1]":                   amount,
		"max_failures: '3'":                   amount,
		"max_failures: 100%":                  "",
		"max_failures: 1%":                    "",
		"max_failures: 1":                     "",
		"max_failures: 100000":                "",
		"max_failures: 100001":                amount,
		"max_failures: 3":                     "",
		"count_unreachable: 1":                "rollout.count_unreachable must be true or false",
		"parallel: 50%":                       "rollout.parallel must be a whole number from 1 to 100000",
		"canary: 0":                           "",
		"canary: 10%":                         "rollout.canary must be a whole number from 0 to 100000",
		"batch: 3":                            "",
		"batch: 10%":                          "",
		"batch: [1, 50%]":                     "",
		"batch: []":                           "rollout.batch is an empty list | leave it out",
		"batch: [1, 0]":                       strings.Replace(amount, "max_failures", "batch", 1),
		"batch: [[1]]":                        strings.Replace(amount, "max_failures", "batch", 1),
		"batch: {a: 1}":                       strings.Replace(amount, "max_failures", "batch", 1),
		"soak: 0s":                            "",
		"soak: 24h":                           "",
		"soak: 25h":                           "rollout.soak must be at most 24h",
		"soak: 60":                            "rollout.soak needs a unit | write 60s, 60m, 60h or 60d: seconds, minutes, hours or days",
		"max_unavailable_per: none":           "",
		"max_unavailable_per: site":           "rollout.max_unavailable_per must be a mapping (lines of key: value)",
		"max_unavailable_per: {count: 1}":     "rollout.max_unavailable_per has no label | set one: {label: site, count: 1}",
		"max_unavailable_per: {label: rack}":  `no host has the label "rack"`,
		"max_unavailable_per: {label: sites}": `no host has the label "sites" | did you mean "site"?`,
		"max_unavailable_per: {label: site}":  "",
		"max_unavailable_per: {label: site, count: 0}": "rollout.max_unavailable_per.count must be a whole number from 1 to 100000",
		"max_unavailable_per: {label: site, per: 1}":   `unknown key "per" in rollout.max_unavailable_per`,
		"connect_rate: 50":                             "",
		"connect_rate: 0":                              "rollout.connect_rate must be a whole number from 1 to 10000",
		"connect_rate: 10001":                          "rollout.connect_rate must be a whole number from 1 to 10000",
		"connect_parallel: 1000":                       "",
		"connect_parallel: 0":                          "rollout.connect_parallel must be a whole number from 1 to 1000",
	} {
		got := problems(t, "version: 1\nhosts: {a: {labels: {site: x}}}\nrollout:\n  "+setting+"\n")
		for i := range got {
			_, got[i], _ = strings.Cut(got[i], " ")
		}
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("%s\ngot  %s\nwant %s", setting, s, want)
		}
	}
}

// No error quotes a value that may be a misplaced secret.
func TestErrorsQuoteNoSecret(t *testing.T) {
	for _, setting := range []string{
		"sudo: hunter2", "sudo: {password: hunter2}", "sudo: {password_from: hunter2}", "password_from: hunter2", "passphrase_from: [hunter2]",
		"password_from: {env: $hunter2}", "password_from: {command: \"hunter2\\n\"}", "host_key_fingerprint: hunter2", "password_from: {file: ~hunter2/x}",
		"identity_file: \"x\\nhunter2\"",
		"identity_file: https://hunter2", "certificate: \"{hunter2}\"", "certificate: {command: \"hunter2\\n\"}", "certificate: {command: \"${name} hunter2\"}", "health: {command: \"hunter2\\n\"}",
		"certificate: hunter2" + strings.Repeat("x", maxText), "user: -hunter2", "via: hunter2", "agent: {provider: [hunter2]}",
	} {
		_, err := Parse("inv.yaml", []byte("version: 1\nhosts: {a: }\ndefaults:\n  "+setting+"\n"), testEnv)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
			t.Errorf("%.40s: %v", setting, err)
		}
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("inside the library") }

// A panic inside the YAML library is an error about the file.
func TestPanicInTheLibrary(t *testing.T) {
	if doc, err := next(yaml.NewDecoder(panicking{})); err == nil {
		t.Errorf("got %v and no error", doc)
	}
}
