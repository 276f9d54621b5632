package host

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

func provider(name, path string) string {
	return "  - {name: " + name + ", key_vault: {vault_name: v, service_principal: {tenant_id: t, client_id: c, cert_path: " + path + "}}}\n"
}

func TestChoose(t *testing.T) {
	const (
		head     = "agent_id: a\nsecret_providers:\n"
		identity = "  - {name: mi, key_vault: {vault_name: v, managed_identity: {object_id: o}}}\n"
		files    = "  - {name: local, file_system: {secrets_directory: /s}}\n"
	)
	for name, c := range map[string]struct {
		text    string
		agent   inventory.Agent
		want    string // provider:path; "" for none
		message string // of the error
	}{
		"one":                 {head + files + provider("p", "/p"), inventory.Agent{}, "p:/p", ""},
		"one and an identity": {head + identity + provider("p", "/p"), inventory.Agent{}, "p:/p", ""},
		"several, one file":   {head + provider("p", "/p") + provider("q", "/p"), inventory.Agent{}, "p:/p", ""},
		"several files":       {head + provider("p", "/p") + provider("q", "/q"), inventory.Agent{}, "", "several secret providers"},
		"named":               {head + provider("p", "/p") + provider("q", "/q"), inventory.Agent{Provider: "q"}, "q:/q", ""},
		"named, not there":    {head + provider("p", "/p"), inventory.Agent{Provider: "x"}, "", `no secret provider "x"`},
		"named an identity":   {head + identity, inventory.Agent{Provider: "mi"}, "", `no secret provider "mi"`},
		"managed identity":    {head + identity, inventory.Agent{}, "", ""},
		"none":                {head + files, inventory.Agent{}, "", "no secret provider"},
		"empty":               {"", inventory.Agent{}, "", "no secret provider"},
		"relative":            {head + provider("p", "certs/p"), inventory.Agent{}, "", "not an absolute path"},
		"no path":             {head + provider("p", "''"), inventory.Agent{}, "", "not an absolute path"},
		"line break":          {head + provider("p", `"/a\nb"`), inventory.Agent{}, "", "not an absolute path"},
		"escape":              {head + provider("p", `"/a\e[2Jb"`), inventory.Agent{}, "", "not an absolute path"},
		"NUL":                 {head + provider("p", `"/a\0b"`), inventory.Agent{}, "", "not an absolute path"},
		"spaces and umlauts":  {head + provider("p", "/a b/ü $x/`y`"), inventory.Agent{}, "p:/a b/ü $x/`y`", ""},
		"path given":          {head + provider("p", "/p") + provider("q", "/q"), inventory.Agent{CertificatePath: "/q"}, "q:/q", ""},
		"path given, other":   {head + provider("p", "/p"), inventory.Agent{CertificatePath: "/x"}, ":/x", ""},
		"path, no provider":   {"", inventory.Agent{CertificatePath: "/x"}, ":/x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parseAgentConfig(c.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := cfg.choose(c.agent)
			text := ""
			if got != nil {
				text = got.Name + ":" + got.Path
			}
			if text != c.want || (err != nil) != (c.message != "") {
				t.Fatalf("got %q, %v", text, err)
			}
			if err == nil {
				return
			}
			if p := AsProblem(err); p.Class != problem.Configuration || p.Hint == "" || !strings.Contains(p.Message, c.message) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestListenerPort(t *testing.T) {
	for text, want := range map[string]int{
		"pipelines: [{source: {sftp_pull: {}}}]":                                     0,
		"pipelines: [{source: {mcc_edrs: {}}}]":                                      36001,
		"pipelines: [{source: {mcc_edrs: {listener: {port: 36002}}}}]":               36002,
		"pipelines: [{source: {mcc_edrs: {listener: {port: 70000}}}}]":               36001,
		"pipelines: [{source: {mcc_edrs: {listener: {port: -1}}}}]":                  36001,
		"pipelines: [{source: {mcc_edrs: {listener: {address: 0.0.0.0, port: 9}}}}]": 9,
	} {
		if cfg, err := parseAgentConfig(text); err != nil || cfg.ListenerPort != want {
			t.Errorf("%s: %d %v", text, cfg.ListenerPort, err)
		}
	}
}

func TestAgentConfigThatIsNone(t *testing.T) {
	for _, text := range []string{"a: b: c", "\t", "- x", "secret_providers: 1", "[1]: 2\n<<: {a: 1}\n", "&a [*a]", "a: \x00"} {
		if _, err := parseAgentConfig(text); err != nil && (len(err.Error()) > 250 || strings.ContainsAny(err.Error(), "\n\x00\x1b")) {
			t.Errorf("%q: %q", text, err)
		}
	}
}

// TestAgentConfigThatIsUnclear has files that other YAML parsers refuse, or read as this one must.
func TestAgentConfigThatIsUnclear(t *testing.T) {
	head := "secret_providers:\n- key_vault:\n    service_principal:\n"
	for text, want := range map[string]string{
		head + "      cert_path: /a\n---\n" + head + "      cert_path: /b\n": "more than one YAML document",
		"---\n---\n" + head + "      cert_path: /b\n":                        "more than one YAML document",
		head + "      cert_path: /a\n...\n":                                  "/a",
		head + "      cert_path: /a\n      cert_path: /b\n":                  "line 5: mapping key \"cert_path\" already defined at line 4",
		head + "      cert_path: [/a]\n":                                     "line 4: secret_providers[0].key_vault.service_principal.cert_path must be a text, not a list",
		head + "      cert_path: {{ path }}\n":                               "line 4: secret_providers[0].key_vault.service_principal.cert_path must be a text, not a mapping",
		head + "      cert_path: ~\n":                                        "",
		head + "\tcert_path: /a\n":                                           "line 4: found character that cannot start any token",
		head + "      cert_path: /\xfc\n":                                    "not UTF-8 text",
		"\xff\xfea\x00:\x00 \x001\x00":                                       "not UTF-8 text",
		"- a":                                                                "line 1: the file must be a mapping (lines of key: value), not a list",
		"hello":                                                              "line 1: the file must be a mapping (lines of key: value), not a text",
		"":                                                                   "none",
		"# a\n":                                                              "none",
		`{"secret_providers":[{"key_vault":{"service_principal":{"cert_path":"\/a\\/b\/c"}}}]}`: `/a\/b/c`,
	} {
		cfg, err := parseAgentConfig(text)
		got := "none"
		if err != nil {
			got = err.Error()
		} else if len(cfg.Providers) > 0 {
			got = cfg.Providers[0].Path
		}
		if !strings.HasSuffix(got, want) || want == "" && got != "" || strings.Contains(got, "host.") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The secrets of a provider are those that sinks take from it, each once; a sink of another
// form names none.
func TestSecretsOfProviders(t *testing.T) {
	head := "secret_providers:\n- {name: dp, key_vault: {vault_name: v, service_principal: {cert_path: /a}}}\n- {name: two, key_vault: {vault_name: w, service_principal: {cert_path: /a}}}\npipelines:\n"
	for pipelines, want := range map[string]string{
		"": "",
		"- sink: {sas_token: {secret_provider: dp, secret_name: sas-1, cache_period: 1h}}\n":                                                                                                   "sas-1",
		"- sink: {sas_token: {secret_provider: two, secret_name: sas-1}}\n- sink: {sas_token: {secret_provider: dp, secret_name: sas-2}}\n":                                                    "sas-2",
		"- sink: {sas_token: {secret_provider: dp, secret_name: b}}\n- sink: {sas_token: {secret_provider: dp, secret_name: a}}\n- sink: {sas_token: {secret_provider: dp, secret_name: b}}\n": "b a",
		"- sink: {sas_token: {secret_provider: dp}}\n- sink: {sas_token: sv=1}\n- sink: [x]\n- sink: x\n- {}\n- sink: {sas_token: {secret_provider: dp, secret_name: c}}\n":                    "c",
		"- sink: {sas_token: {secret_provider: dp, secret_name: \"a\\eb\"}}\n":                                                                                                                 "a",
		strings.Repeat("- sink: {sas_token: {secret_provider: dp, secret_name: a}}\n", 3):                                                                                                      "a",
	} {
		cfg, err := parseAgentConfig(head + pipelines)
		if err != nil || len(cfg.Providers) != 2 {
			t.Fatalf("%q: %v", pipelines, err)
		}
		if got := strings.Join(cfg.Providers[0].Secrets, " "); got != want {
			t.Errorf("%q: %q, expected %q", pipelines, got, want)
		}
	}
	// A managed identity has no certificate, however it is written; null is none.
	for form, want := range map[string]bool{"{object_id: o}": true, "{}": true, "system": true, "[]": true, "~": false} {
		cfg, err := parseAgentConfig("secret_providers: [{name: m, key_vault: {managed_identity: " + form + "}}]")
		if err != nil || cfg.ManagedIdentity != want {
			t.Errorf("%s: %v, %v", form, cfg.ManagedIdentity, err)
		}
	}
	many := ""
	for i := range 100 {
		many += fmt.Sprintf("- sink: {sas_token: {secret_provider: dp, secret_name: s%d}}\n", i)
	}
	if cfg, err := parseAgentConfig(head + many); err != nil || len(cfg.Providers[0].Secrets) != mostSecrets {
		t.Errorf("%d secrets, %v", len(cfg.Providers[0].Secrets), err)
	}
}

// The pipelines that prove an upload have an SFTP source and a token from a provider with the
// certificate's file, and an id that stands in the log as it is.
func TestUploaders(t *testing.T) {
	provider := func(name, path string) string {
		return "- {name: " + name + ", key_vault: {vault_name: v, service_principal: {cert_path: " + path + "}}}\n"
	}
	pipeline := func(id, source, provider string) string {
		return "- {id: " + id + ", source: {" + source + "}, sink: {sas_token: {secret_provider: " + provider + "}}}\n"
	}
	const pull = "sftp_pull: {server: s}"
	head := "secret_providers:\n" + provider("dp", "/a") + provider("same", "/a") + provider("other", "/b") +
		"- {name: mi, key_vault: {managed_identity: {object_id: o}}}\npipelines:\n"
	for pipelines, want := range map[string]string{
		"": "",
		pipeline("one", pull, "dp") + pipeline("two", pull, "dp"):                                  "one two",
		pipeline("one", pull, "same") + pipeline("two", pull, "other") + pipeline("3", pull, "mi"): "one",
		pipeline("1", pull, "dp"):             "1",
		pipeline("one", "mcc_edrs: {}", "dp"): "",
		pipeline("one", "sftp_pull: ", "dp"):  "",
		pipeline("[x]", pull, "dp") + pipeline("~", pull, "dp") + pipeline(`"a\"b"`, pull, "dp") + pipeline(`"a\nb"`, pull, "dp") + pipeline("'a{b'", pull, "dp"): "~",
		"- {id: one, source: {" + pull + "}, sink: x}\n":                         "",
		"- {source: {" + pull + "}, sink: {sas_token: {secret_provider: dp}}}\n": "",
		strings.Repeat(pipeline("x", pull, "dp"), 100):                           strings.TrimSpace(strings.Repeat("x ", mostPipelines)),
	} {
		cfg, err := parseAgentConfig(head + pipelines)
		if err != nil {
			t.Fatalf("%q: %v", pipelines, err)
		}
		o := &Observation{Config: cfg, Provider: &cfg.Providers[0]}
		if got := strings.Join(o.Uploaders(), " "); got != want {
			t.Errorf("%q: %q, expected %q", pipelines, got, want)
		}
		if o.Provider = nil; o.Uploaders() != nil {
			t.Errorf("%q: a managed identity proves a certificate", pipelines)
		}
	}
}

// TestProofValues: a rollback waits for nothing, and a helper of another version gets no key
// that it may not know, unless a proof is required.
func TestProofValues(t *testing.T) {
	seen := &Observation{Provider: &Provider{Path: "/a"}, Config: AgentConfig{Providers: []Provider{{Path: "/a", Pipelines: []string{"p"}}}}}
	h := inventory.Host{Health: inventory.Health{ProofTimeout: 1500 * time.Millisecond}}
	helped := h
	helped.Helper = HelperPath
	old := *seen
	old.Note = "another version"
	for name, c := range map[string]struct {
		host   inventory.Host
		change Change
		want   string
	}{
		"usual":                {h, Change{Seen: seen}, "[{pipeline p} {proof_timeout 2}]"},
		"required":             {h, Change{Seen: seen, Require: "uploaded"}, "[{pipeline p} {require uploaded} {proof_timeout 2}]"},
		"a rollback":           {h, Change{Seen: seen, Saved: "r"}, "[{pipeline p}]"},
		"helper":               {helped, Change{Seen: seen}, "[{pipeline p} {proof_timeout 2}]"},
		"old helper":           {helped, Change{Seen: &old}, "[]"},
		"old helper, required": {helped, Change{Seen: &old, Require: "uploaded"}, "[{pipeline p} {require uploaded} {proof_timeout 2}]"},
	} {
		if got := fmt.Sprint(New(nil, c.host, Run{}, nil).proofValues(c.change)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A value of another form is named with line and key, what is wanted and what is there; Go's
// types and the value are not shown.
func TestAgentConfigOfAnotherForm(t *testing.T) {
	for text, want := range map[string]string{
		"- x":                               `line 1: the file must be a mapping (lines of key: value), not a list`,
		"x":                                 `line 1: the file must be a mapping (lines of key: value), not a text`,
		`'{"agent_id": "a"}'`:               `line 1: the file must be a mapping (lines of key: value), not a text`,
		"agent_id: [a]":                     `line 1: agent_id must be a text, not a list`,
		"\nsecret_providers: 1":             `line 2: secret_providers must be a list (lines that begin with "- "), not a number`,
		"secret_providers:\n  name: geheim": `line 2: secret_providers must be a list (lines that begin with "- "), not a mapping`,
		"secret_providers: [{name: a}, {name: {geheim: b}}]":                                     `line 1: secret_providers[1].name must be a text, not a mapping`,
		"secret_providers:\n- name: a\n  key_vault: geheim":                                      `line 3: secret_providers[0].key_vault must be a mapping (lines of key: value), not a text`,
		"secret_providers:\n- key_vault:\n    service_principal: [cert_path: geheim]":            `line 3: secret_providers[0].key_vault.service_principal must be a mapping (lines of key: value), not a list`,
		"pipelines:\n- source:\n    mcc_edrs:\n      listener:\n        port: geheim":            `line 5: pipelines[0].source.mcc_edrs.listener.port must be a whole number, not a text`,
		"pipelines:\n- source:\n    mcc_edrs:\n      listener: {port: 1e99}":                     `line 4: pipelines[0].source.mcc_edrs.listener.port must be a whole number, not a number`,
		"pipelines:\n- source:\n    mcc_edrs:\n      listener: {port: true}":                     `line 4: pipelines[0].source.mcc_edrs.listener.port must be a whole number, not true or false`,
		"x: &x [geheim]\nagent_id: *x":                                                           `line 1: agent_id must be a text, not a list`,
		"x: &x\n  y: *x\nsecret_providers: *x":                                                   ``,
		"<<: {agent_id: [geheim]}":                                                               `line 1: a value has not the form that the agent reads`,
		"agent_id: a\nagent_id: b":                                                               `line 2: mapping key "agent_id" already defined at line 1`,
		"secret_providers:\n- key_vault: {service_principal: {cert_path: }}\npipelines: ~\nx: [": `yaml: line 4: did not find expected node content`,
	} {
		_, err := parseAgentConfig(text)
		if err == nil || want != "" && err.Error() != want || strings.Contains(err.Error(), "struct") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q\ngot  %v\nwant %s", text, err, want)
		}
	}
	if cfg, err := parseAgentConfig("agent_id: 5\npipelines: [{source: {mcc_edrs: {listener: {port: 5}}}}]"); err != nil || cfg.AgentID != "5" || cfg.ListenerPort != 5 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// FuzzAgentConfig: an accepted file has the values that another decoder of YAML, or of JSON if
// it is JSON, finds in it; a path that is chosen is absolute and printable; time and memory are
// bounded.
func FuzzAgentConfig(f *testing.F) {
	f.Add("agent_id: a\nsecret_providers:\n"+provider("p", "/p"), "p", "")
	f.Add("[1]: 2\n<<: {a: 1}\n", "", "/x")
	f.Add("a: &a [*a, *a]\nsecret_providers: *a", "", "")
	f.Add("pipelines: [{source: {mcc_edrs: {listener: {port: 1}}}}]", "", "")
	f.Add(`{"agent_id":"\ud83d\ude00","secret_providers":[{"key_vault":{"service_principal":{"cert_path":"\/a\\"}}}]}`, "", "")
	f.Add("a: 1\r---\rb: 2\r...\r", "", "")
	f.Add("secret_providers:\n- name: x\n  key_vault: {vault_name: v, service_principal: {cert_path: \"/a\\u202e\"}}\n", "x\x1b", "")
	f.Add("a: &a [0,0,0,0,0,0,0,0,0]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nsecret_providers: [*d,*d,*d,*d,*d,*d]", "", "")
	f.Add("a: &a {name: n, key_vault: {service_principal: {cert_path: /p}}}\nb: &b [*a,*a,*a]\nsecret_providers: *b", "n", "")
	f.Fuzz(func(t *testing.T, text, name, path string) {
		var cfg AgentConfig
		var err error
		fuzz.Bounded(t, 16<<20+4000*len(text), func() { cfg, err = parseAgentConfig(text) })
		if err != nil {
			fuzz.Line(t, err.Error(), 200)
			return
		}
		if cfg.ListenerPort < 0 || cfg.ListenerPort > 65535 {
			t.Errorf("port %d", cfg.ListenerPort)
		}
		sameAsOther(t, text, cfg)
		got, err := cfg.choose(inventory.Agent{Provider: name, CertificatePath: path})
		if err != nil {
			fuzz.Line(t, strings.ReplaceAll(AsProblem(err).Message, fmt.Sprintf("%q", name), ""), 1000)
			return
		}
		if got != nil && path == "" && (!strings.HasPrefix(got.Path, "/") || len(got.Path) > 4096 || got.Path != display.Plain(got.Path, 4096)) {
			t.Errorf("path %q", got.Path)
		}
	})
}

// sameAsOther compares the paths with those of another decoder.
func sameAsOther(t *testing.T, text string, cfg AgentConfig) {
	t.Helper()
	var all map[string]any
	if json.Valid([]byte(text)) {
		_ = json.Unmarshal([]byte(text), &all) // the other fields do not matter
	} else if !strings.Contains(text, "<<") { // a merge is not done for a map of the same form
		_ = yaml.Unmarshal([]byte(text), &all)
	}
	list, _ := all["secret_providers"].([]any)
	var want []string
	for _, p := range list {
		provider, _ := p.(map[string]any)
		vault, _ := provider["key_vault"].(map[string]any)
		if principal, ok := vault["service_principal"].(map[string]any); ok {
			path, _ := principal["cert_path"].(string)
			want = append(want, path)
		}
	}
	for i, path := range want {
		if path != "" && (i >= len(cfg.Providers) || cfg.Providers[i].Path != path) {
			t.Errorf("%q: %+v, another decoder reads %q", text, cfg.Providers, want)
			return
		}
	}
}
