package host

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
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
		head + "      cert_path: [/a]\n":                                     "line 4: unexpected !!seq",
		head + "      cert_path: {{ path }}\n":                               "line 4: unexpected !!map",
		head + "      cert_path: ~\n":                                        "",
		head + "\tcert_path: /a\n":                                           "line 4: found character that cannot start any token",
		head + "      cert_path: /\xfc\n":                                    "not UTF-8 text",
		"\xff\xfea\x00:\x00 \x001\x00":                                       "not UTF-8 text",
		"- a":                                                                "line 1: unexpected !!seq",
		"hello":                                                              "line 1: unexpected !!str",
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

func FuzzAgentConfig(f *testing.F) {
	f.Add("agent_id: a\nsecret_providers:\n"+provider("p", "/p"), "p", "")
	f.Add("[1]: 2\n<<: {a: 1}\n", "", "/x")
	f.Add("a: &a [*a, *a]\nsecret_providers: *a", "", "")
	f.Add("pipelines: [{source: {mcc_edrs: {listener: {port: 1}}}}]", "", "")
	f.Add(`{"secret_providers":[{"key_vault":{"service_principal":{"cert_path":"\/a\\"}}}]}`, "", "")
	f.Add("a: 1\r---\rb: 2\r...\r", "", "")
	f.Fuzz(func(t *testing.T, text, name, path string) {
		cfg, err := parseAgentConfig(text)
		if err != nil {
			return
		}
		got, err := cfg.choose(inventory.Agent{Provider: name, CertificatePath: path})
		if err == nil && got != nil && path == "" && (!strings.HasPrefix(got.Path, "/") || strings.ContainsAny(got.Path, "\n\r\x00\x1b")) {
			t.Errorf("path %q", got.Path)
		}
		if cfg.ListenerPort < 0 || cfg.ListenerPort > 65535 {
			t.Errorf("port %d", cfg.ListenerPort)
		}
	})
}
