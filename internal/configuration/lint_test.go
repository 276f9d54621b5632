package configuration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func sample(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The forms that the vendor documents, with each key, have no finding.
func TestLintSamples(t *testing.T) {
	for _, name := range []string{"sftp.yaml", "edr.yaml", "flat.yaml"} {
		for _, f := range Lint([]byte(sample(t, name))) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// short writes a finding as "level line:column key: message; hint".
func short(f Finding) string {
	text := fmt.Sprintf("%s %d:%d %s: %s", f.Level, f.Line, f.Column, f.Key, f.Message)
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	return text
}

const sftpAt = "pipelines[0].source.sftp_pull."

// Each rule: a sample with one change has exactly these findings.
func TestLint(t *testing.T) {
	for _, tt := range []struct {
		file, old, new string
		want           []string // parts of each finding, in order
	}{
		// values
		{"sftp", "agent_id: london-sftp-01", "agent_id: london sftp/01", []string{`error 2:11 agent_id: it must be text without a reserved character of URLs or a space; write it as "london%20sftp%2F01"`}},
		{"sftp", "agent_id: london-sftp-01", "agent_id: 50%", []string{`write it as "50%25"`}},
		{"sftp", "agent_id: london-sftp-01", "agent_id: 0123", []string{`error 2:11 agent_id: it is a number or yes/no for YAML, and must be text`}},
		{"sftp", "agent_id: london-sftp-01", "agent_id: true", []string{`put it between quotes: "true"`}},
		{"sftp", "agent_id: london-sftp-01", "agent_id: 'true'", nil},
		{"sftp", "agent_id: london-sftp-01", "agent_id: 1_000", nil},
		{"sftp", "agent_id: london-sftp-01", "agent_id:", []string{`error 2:10 agent_id: it has no value`}},
		{"sftp", "agent_id: london-sftp-01", "agent_id: [a]", []string{`error 2:11 agent_id: it must be text`}},
		{"sftp", "agent_id: london-sftp-01", "agentid: a", []string{`error 2:1 : agent_id is missing; is it the key "agentid"?`, `note 2:1 agentid: an unknown key; the agent may know it; did you mean "agent_id"?`}},
		{"sftp", "port: 22", `port: "22"`, []string{sftpAt + "server.port: it is text, and must be a number; remove the quotes"}},
		{"sftp", "port: 22", `port: 0`, []string{"it must be a number from 1 to 65535"}},
		{"sftp", "port: 22", `port: 65535`, nil},
		{"sftp", "port: 22", `port: 65536`, []string{"it must be a number from 1 to 65535"}},
		{"sftp", "uploads: 10", "uploads: 0", []string{"it must be a number of at least 1"}},
		{"sftp", "32 MiB", "32 MB", []string{"error 39:19 pipelines[0].sink.block_size: it must be a size with its unit, as 32 MiB; the units are B, KiB, MiB and GiB"}},
		{"sftp", "32 MiB", "33554432", []string{"it must be a size"}},
		{"sftp", "32 MiB", "1.5GiB", nil},
		{"sftp", "cache_period: 1h", "cache_period: 3600", []string{"it must be a duration with its unit"}},
		{"sftp", "cache_period: 1h", "cache_period: 1h 30m", nil},
		{"sftp", "cache_period: 1h", "cache_period: 1H", []string{"it must be a duration"}},
		{"sftp", "contoso-dp-kv", "https://contoso-dp-kv.vault.azure.net", []string{"not the address of the vault"}},
		{"sftp", "2a9e1f50-7c1b", "2a9e1f50", []string{"client_id: it must be an ID"}},
		{"sftp", "cert_path: /etc", "cert_path: etc", []string{"cert_path: it must be an absolute path; start it with /"}},
		{"sftp", "container_name: input", "container_name: Input", []string{"it must be the name of a container"}},
		{"sftp", "key_secret_name: collector-key", "key_secret_name: /etc/secrets/collector-key", []string{"give the name only"}},
		{"sftp", "2026-01-31T00:00:00Z", "2026-01-31", []string{"error 32:32 " + sftpAt + "filtering.exclude_before_time: it must be a time in RFC 3339"}},
		{"sftp", "2026-01-31T00:00:00Z", `"2026-02-30T00:00:00Z"`, []string{"it must be a time in RFC 3339"}},
		{"sftp", "2026-01-31T00:00:00Z", `"2026-01-31 01:00:00.5+01:00"`, nil},
		// lists and keys
		{"sftp", "pipelines:\n", "pipelines: []\nlater:\n", []string{"error 14:12 pipelines: the list is empty", "note 15:1 later: an unknown key"}},
		{"edr", "listener: {", "listener: [{", []string{"error 12:0 : not valid YAML"}},
		{"edr", "listener: {port: 36001, soft_maximum_message_size: 20480 B, hard_maximum_message_size: 100000B}", "listener: 36001", []string{"pipelines[0].source.mcc_edrs.listener: it must have keys"}},
		{"edr", "        batching: {", "        extra: {a: 1}\n        batching: {", []string{"note 13:9 pipelines[0].source.mcc_edrs.extra: an unknown key"}},
		{"edr", "secret_providers:", "secret_providers: {}\nothers:", []string{"error 3:19 secret_providers: it must be a list", "note 4:1 others", "no secret provider has the name \"kv\""}},
		{"edr", "agent_id: paris-edr-01", "agent_id: a\nagent_id: b", []string{"error 3:1 agent_id: the key is there twice; remove this one or the one of line 2"}},
		// exactly one, and names
		{"edr", "managed_identity: {object_id: 5b0d7a54-3f6e-4a55-8e0f-9a4d3d1c7e21}", "", []string{"key_vault: it has neither managed_identity nor service_principal; add one of them"}},
		{"edr", "    key_vault: {", "    file_system: {secrets_directory: /s}\n    key_vault: {", []string{"it has key_vault and file_system; remove all but one"}},
		{"edr", "      mcc_edrs:", "      mcc_edr:", []string{`an unknown key; the agent may know it; did you mean "mcc_edrs"?`, "note 9:7 pipelines[0].source: it has neither mcc_edrs nor sftp_pull"}},
		{"sftp", "          private_key:", "          password: {secret_provider: local_file_system, secret_name: a}\n          private_key:", []string{"it has password and private_key"}},
		{"sftp", "secret_provider: local_file_system", "secret_provider: data_product_keyvault", []string{"the provider must be a file_system one"}},
		{"sftp", "secret_provider: local_file_system", "secret_provider: local_filesystem", []string{`no secret provider has the name "local_filesystem"; did you mean "local_file_system"?`}},
		{"sftp", "name: local_file_system", "name: data_product_keyvault", []string{`error 11:11 secret_providers[1].name: "data_product_keyvault" is also that of line 4`, "no secret provider has the name"}},
		{"sftp", "          user: collector\n", "", []string{"pipelines[0].source.sftp_pull: user is missing"}},
		{"sftp", "      sftp_pull:\n", "      sftp_pull:\n        user: x\n", []string{"note 18:9 pipelines[0].source.sftp_pull: user is there twice: directly and in a group"}},
		{"flat", "        base_path: /\n        cron: \"0 0 3 ? * MON-FRI *\"\n", "", []string{"base_path is missing", "cron is missing"}},
		// aliases, merge keys
		{"edr", "pipelines:\n", "x: {<<: {a: 1}}\npipelines:\n", []string{"note 6:1 x: an unknown key"}},
		{"edr", "    sink: &sink\n", "    sink: &sink\n      <<: {base_path: a}\n", []string{"the agent may not read merge keys"}},
		// the file as a whole
		{"edr", "listener: {port: 36001,", "\tlistener: {port: 36001,", []string{"error 12:9 : not valid YAML: found a tab character that violates indentation; indent with spaces, not with tabs"}},
		{"edr", "pipelines:\n", "---\npipelines:\n", []string{"a second YAML document"}},
		{"edr", "pipelines:\n", "a: &a [*a]\npipelines:\n", []string{"aliases (*name) make the file too large, or endless"}},
		{"edr", "pipelines:\n", "a: \x01\npipelines:\n", []string{"error 6:4 : the file is not plain text"}},
	} {
		text := sample(t, tt.file+".yaml")
		if !strings.Contains(text, tt.old) {
			t.Fatalf("%s has no %q", tt.file, tt.old)
		}
		found := Lint([]byte(strings.Replace(text, tt.old, tt.new, 1)))
		match := len(found) == len(tt.want)
		for i := range min(len(found), len(tt.want)) {
			match = match && strings.Contains(short(found[i]), tt.want[i])
		}
		if !match {
			t.Errorf("%q for %q:", tt.new, tt.old)
			for _, f := range found {
				t.Error("   ", short(f))
			}
		}
	}
}

// What the vendor's own reference page looks like: text after a key that has keys below it. All
// of it is reported at once, and the rest is checked.
func TestLintExplainsInvalidYAML(t *testing.T) {
	text := sample(t, "sftp.yaml")
	for _, key := range []string{"server:", "filtering:", "scheduling:"} {
		text = strings.Replace(text, key+"\n", key+" the settings of it\n", 1)
	}
	text = strings.Replace(text, "port: 22", "port: 0", 1)
	found := Lint([]byte(text))
	if len(found) != 4 || short(found[0]) != "error 18:17 server: it has a value, and keys below it; remove the value, or put # before it" || !strings.Contains(found[1].Message, "65535") || found[2].Line != 27 || found[3].Line != 33 {
		t.Errorf("%+v", found)
	}
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "null"} {
		if found := Lint([]byte(text)); len(found) != 1 || found[0].Message != "the file is empty" {
			t.Errorf("%q: %+v", text, found)
		}
	}
	for _, text := range []string{"a", "- a", "{", "a: [", "a: 'b", "a: b: c", "[1]: 2\n<<: {a: 1}\n", "\xff", strings.Repeat("[", 20000), strings.Repeat("a: b\n", 200_000), strings.Repeat("a", MaxSize+1)} {
		if found := Lint([]byte(text)); len(found) == 0 || found[0].Level == "" || found[0].Message == "" {
			t.Errorf("%.20q: %+v", text, found)
		}
	}
}

// A configuration that is wrong a thousand times has a hundred findings, the errors first kept.
func TestLintIsBounded(t *testing.T) {
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "key_%d: 1\n", i)
	}
	found := Lint([]byte(text.String() + "agent_id: a b\npipelines: []\n"))
	errors := slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Hint, "a%20b") })
	if len(found) != maxFindings || !errors {
		t.Errorf("%d, %v", len(found), errors)
	}
}

// Only what is certainly wrong for Rust's regular expressions is an error.
func TestPattern(t *testing.T) {
	for text, wrong := range map[string]bool{
		"*.csv": true, "(": true, ")": true, "[a": true, `a\`: true, "(?=a)": true, "(?!a)": true, "(?<=a)b": true, "(?<!a)b": true, `(a)\1`: true, "a|*": true,
		`.*\.csv$`: false, "a**": false, "x{,3}": false, `(?x) a # (`: false, `[a&&[^b]]`: false, `[[:alpha:]]`: false, `(?<name>a)`: false, `\p{Greek}`: false, `\\1`: false, "a{2000}": false, `[(?=]`: false, "": false,
	} {
		if got := pattern(text); (got != "") != wrong {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestCron(t *testing.T) {
	for text, wrong := range map[string]string{
		"0 */5 * * * * *": "", "0 0 3 ? * MON-FRI *": "", "0,30 1-5/2 * 1,15 jan-Mar 1-7 2026-2030": "", "@daily": "", "0 0 0 1 1 sunday 2026": "",
		"*/5 * * * *": "it has 5", "0 0 * * * *": "it has 6", "": "it has 0", "60 * * * * * *": "the second can't be \"60\"", "* * 24 * * * *": "hour", "* * * 0 * * *": "day of the month",
		"* * * * 13 * *": "month", "* * * * * 8 *": "day of the week", "* * * * * * 1969": "year", "*/0 * * * * * *": "second", "5-1 * * * * * *": "second", "a * * * * * *": "second", "1- * * * * * *": "second", ", * * * * * *": "second",
	} {
		if got := cron(text); wrong == "" && got != "" || !strings.Contains(got, wrong) {
			t.Errorf("%s: %q, want %q", text, got, wrong)
		}
	}
}
