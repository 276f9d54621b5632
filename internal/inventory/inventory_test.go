package inventory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

var testEnv = Env{User: "operator", Home: filepath.FromSlash("/home/operator")}

func parse(t *testing.T, text string) *Inventory {
	t.Helper()
	inv, err := Parse("inv.yaml", []byte(text), testEnv)
	if err != nil {
		t.Fatalf("unexpected error:\n%v", err)
	}
	checkSchema(t, []byte(text), nil)
	return inv
}

// problems returns the errors as "line:column message | hint", for comparison.
func problems(t *testing.T, text string) []string {
	t.Helper()
	_, err := Parse("inv.yaml", []byte(text), testEnv)
	var errs Errors
	if err != nil && !errors.As(err, &errs) {
		t.Fatalf("the error is a %T, want Errors", err)
	}
	checkSchema(t, []byte(text), err)
	var list []string
	for _, e := range errs {
		if e.File != "inv.yaml" {
			t.Errorf("the error names the file %q", e.File)
		}
		s := fmt.Sprintf("%d:%d %s", e.Line, e.Column, e.Message)
		if e.Hint != "" {
			s += " | " + e.Hint
		}
		list = append(list, s)
	}
	return list
}

func hostNames(hosts []Host) string {
	list := make([]string, len(hosts))
	for i, h := range hosts {
		list[i] = h.Name
	}
	return strings.Join(list, " ")
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDefaults(t *testing.T) {
	inv := parse(t, "version: 1\nhosts:\n  vm-1:\n")
	want := Host{
		Name: "vm-1", Address: "vm-1", User: "operator", Port: 22,
		KnownHosts:     filepath.FromSlash("/home/operator/.ssh/known_hosts"),
		ConnectTimeout: 10 * time.Second,
		Sudo:           SudoPasswordless,
		Agent: Agent{
			Unit:        "az-aoi-ingestion.service",
			Package:     "az-aoi-ingestion",
			Config:      "/etc/az-aoi-ingestion/config.yaml",
			Log:         "/var/log/az-aoi-ingestion/stdout.log",
			WhenStopped: "refuse",
		},
		Health:  Health{Window: 15 * time.Second, Timeout: 2 * time.Minute, DenyDefault: true},
		Backups: Backups{Keep: 3, MaxAge: 90 * 24 * time.Hour},
	}
	if len(inv.Hosts) != 1 || !reflect.DeepEqual(inv.Hosts[0], want) {
		t.Errorf("got  %+v\nwant %+v", inv.Hosts, want)
	}
	if got := inv.Rollout; !reflect.DeepEqual(got, Rollout{Parallel: 1, Batches: []Amount{Percent(100)}, MaxFailures: Count(1), CountUnreachable: true,
		ConnectRate: 50, ConnectParallel: 8}) {
		t.Errorf("rollout %+v", got)
	}
	if inv.Path != "inv.yaml" {
		t.Errorf("path %q", inv.Path)
	}
}

const everyKey = `version: 1
defaults:
  user: azureuser
  port: 2222
  identity_file: [~/.ssh/one, keys/two]
  known_hosts: known_hosts
  certificate: certs/{name}.p12.b64
  verify: entra
  via: host
  connect_timeout: 1m30s
  ssh_config: ssh/config
  jump: [bastion, "u@[::1]:7"]
  strict_host_key_checking: accept-new
  host_key_fingerprint: SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU
  password_from: {file: secrets/login}
  passphrase_from: {env: KEY_PASSPHRASE}
  sudo: {password_from: {command: "pass show sudo"}}
  agent:
    unit: az-mcc-edr-uploader.service
    package: az-mcc-edr-uploader
    config: /etc/az-mcc-edr-uploader/config.yaml
    log: /var/log/a b.log
    provider: data_product_keyvault
    certificate_path: /secrets/cert.p12
    configuration: conf/{name}.yaml.tmpl
    when_stopped: replace
  health:
    window: 0s
    timeout: 0.5d1h
    expect: ['token (acquired|refreshed)']
    deny: ["[Ee]rror [0-9]+", "a\tb"]
    deny_default: no
    command: systemctl is-active "my agent"
    diagnostics: true
    confirm_timeout: 40s
  backups: {keep: 5, max_age: 30d}
  labels: {site: london, rack: 012, edge: yes}
azure: {cloud: public}
notify: {url_from: {env: HOOK}}
rollout:
  parallel: 4
  canary: 2
  batch: [1, 10%, 100%]
  soak: 1m30s
  max_failures: 10%
  connect_rate: 20
  connect_parallel: 5
  count_unreachable: false
  max_unavailable_per: {label: site, count: 2}
  windows: [{label: site=london, days: [mon-wed, sun], from: "22:00", to: "05:30", zone: Europe/London}]
  freezes: [{from: 2026-12-20, to: 2027-01-03, zone: UTC}]
hosts:
  vm-1: {address: 10.0.0.5}
`

func TestEveryKeyActedOn(t *testing.T) {
	inv := parse(t, everyKey)
	want := Host{
		Name: "vm-1", Address: "10.0.0.5", User: "azureuser", Port: 2222,
		SSHConfig:     filepath.Join(folder(t), "ssh", "config"),
		Jump:          []jump.Hop{{Host: "bastion"}, {Host: "::1", User: "u", Port: 7}},
		Given:         Given{User: true, Port: true, IdentityFiles: true, KnownHosts: true, ConnectTimeout: true, Jump: true},
		IdentityFiles: []string{filepath.FromSlash("/home/operator/.ssh/one"), filepath.Join(folder(t), "keys", "two")},
		KnownHosts:    filepath.Join(folder(t), "known_hosts"),
		Certificate:   filepath.Join(folder(t), "certs", "vm-1.p12.b64"),
		VerifyEntra:   true, ViaHost: true,
		ConnectTimeout:    90 * time.Second,
		AcceptNewHostKeys: true, HostKeyFingerprints: []string{"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"},
		PasswordFrom:   secretsource.Source{File: filepath.Join(folder(t), "secrets", "login")},
		PassphraseFrom: secretsource.Source{Env: "KEY_PASSPHRASE"},
		Sudo:           SudoPassword,
		SudoPassword:   secretsource.Source{Command: "pass show sudo"},
		Agent: Agent{
			Unit: "az-mcc-edr-uploader.service", Package: "az-mcc-edr-uploader",
			Config: "/etc/az-mcc-edr-uploader/config.yaml", Log: "/var/log/a b.log",
			Provider: "data_product_keyvault", CertificatePath: "/secrets/cert.p12", WhenStopped: "replace",
			Configuration: filepath.Join(folder(t), "conf", "vm-1.yaml.tmpl"),
		},
		Health: Health{
			Timeout: 13 * time.Hour, Expect: []string{"token (acquired|refreshed)"},
			Deny: []string{"[Ee]rror [0-9]+", "a\tb"}, Command: `systemctl is-active "my agent"`, Diagnostics: true, ConfirmTimeout: 40 * time.Second,
		},
		Backups: Backups{Keep: 5, MaxAge: 30 * 24 * time.Hour},
		Labels:  map[string]string{"site": "london", "rack": "012", "edge": "yes"},
	}
	if !reflect.DeepEqual(inv.Hosts[0], want) {
		t.Errorf("got  %+v\nwant %+v", inv.Hosts[0], want)
	}
	if inv.Notify != (secretsource.Source{Env: "HOOK"}) {
		t.Errorf("notify %+v", inv.Notify)
	}
	window, freeze := inv.Rollout.Windows[0], inv.Rollout.Freezes[0]
	if window.String() != "site=london mon-wed,sun 22:00-05:30 Europe/London" || window.Days != [7]bool{true, true, true, true, false, false, false} || freeze.String() != "2026-12-20 to 2027-01-03 UTC" {
		t.Errorf("%v, %v, %v", window, window.Days, freeze)
	}
	inv.Rollout.Windows, inv.Rollout.Freezes = nil, nil
	if got := inv.Rollout; !reflect.DeepEqual(got, Rollout{Parallel: 4, Canary: 2, Batches: []Amount{Count(1), Percent(10), Percent(100)}, Soak: 90 * time.Second,
		MaxFailures: Percent(10), MaxUnavailable: Unavailable{"site", 2}, ConnectRate: 20, ConnectParallel: 5}) {
		t.Errorf("rollout %+v", got)
	}
}

func TestNearestWins(t *testing.T) {
	inv := parse(t, `version: 1
defaults:
  user: outer
  port: 1
  identity_file: ~/key
  certificate: fleet.b64
  jump: [a, b]
  agent: {unit: outer.service, log: /outer, provider: p, certificate_path: /c, configuration: "c/{name}"}
  health: {window: 1s, timeout: 1m, expect: [a], deny: [b], command: check}
  password_from: ask
  passphrase_from: ask
  sudo: {password_from: ask}
  strict_host_key_checking: accept-new
  host_key_fingerprint: SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU
  helper: /usr/local/libexec/aoifleet-host
  labels: {site: none, tier: gold}
hosts:
  outside: {}
groups:
  london:
    hosts:
      inner: {port: 3, agent: {log: /inner}, labels: {rack: a}}
      plain: {}
      undone: {jump: none, ssh_config: none, password_from: none, passphrase_from: none, sudo: passwordless, helper: none, strict_host_key_checking: yes, host_key_fingerprint: none, identity_file: none, certificate: none, agent: {provider: none, certificate_path: none, configuration: none}, health: {expect: none, deny: [], command: none}}
    port: 2
    agent: {unit: group.service}
    health: {window: 2s}
    labels: {site: london}
`)
	if got := hostNames(inv.Hosts); got != "outside inner plain undone" {
		t.Fatalf("hosts %q", got)
	}
	outside, inner, plain, undone := inv.Hosts[0], inv.Hosts[1], inv.Hosts[2], inv.Hosts[3]
	got := fmt.Sprintf("%d %s %s %v %q", outside.Port, outside.Agent.Unit, outside.Health.Window, outside.Labels, outside.Group)
	if want := "1 outer.service 1s map[site:none tier:gold] \"\""; got != want {
		t.Errorf("outside %q, want %q", got, want)
	}
	got = fmt.Sprintln(inner.User, inner.Port, inner.Agent.Unit, inner.Agent.Log, inner.Health.Window, inner.Health.Timeout, inner.Labels, inner.Group)
	if want := "outer 3 group.service /inner 2s 1m0s map[rack:a site:london tier:gold] london\n"; got != want {
		t.Errorf("inner %q, want %q", got, want)
	}
	if plain.Labels["rack"] != "" || plain.Port != 2 || plain.Agent.Log != "/outer" {
		t.Errorf("a neighbour's settings leak into %+v", plain)
	}
	if undone.Jump != nil || !undone.Given.Jump || undone.SSHConfig != "none" || undone.IdentityFiles != nil || undone.Certificate != "" || undone.Agent.Provider != "" || undone.Agent.CertificatePath != "" ||
		undone.PasswordFrom != (secretsource.Source{}) || undone.PassphraseFrom != (secretsource.Source{}) || undone.Sudo != SudoPasswordless || undone.SudoPassword != (secretsource.Source{}) ||
		undone.Helper != "" || undone.AcceptNewHostKeys || undone.HostKeyFingerprints != nil || undone.Health.Expect != nil || len(undone.Health.Deny) != 0 || undone.Health.Command != "" {
		t.Errorf("none does not unset: %+v", undone)
	}
	if len(plain.Jump) != 2 || plain.Helper == "" || plain.SSHConfig != "" || !plain.PasswordFrom.Ask || !plain.SudoPassword.Ask || !plain.AcceptNewHostKeys || len(plain.HostKeyFingerprints) != 1 || len(plain.IdentityFiles) != 1 || plain.Certificate == "" || len(plain.Health.Expect) != 1 {
		t.Errorf("defaults are lost: %+v", plain)
	}
}

// Given says which settings are from the inventory.
func TestGiven(t *testing.T) {
	inv := parse(t, "version: 1\ndefaults: {user: operator}\nhosts:\n  a: {port: 22}\n  b: {}\n")
	if a, b := inv.Hosts[0].Given, inv.Hosts[1].Given; a != (Given{User: true, Port: true}) || b != (Given{User: true}) {
		t.Errorf("%+v, %+v", a, b)
	}
}

// A certificate has one source: the nearest, of whatever kind.
func TestCertificateSource(t *testing.T) {
	inv := parse(t, `version: 1
defaults: {certificate: {command: "get {name}"}}
hosts:
  command: {}
  file: {certificate: /a}
  undone: {certificate: none}
groups:
  g:
    certificate: keyvault://v/n
    hosts: {vault: {}, again: {certificate: {command: get}}}
`)
	for _, h := range inv.Hosts {
		want := map[string]string{"command": " get {name}", "file": "/a ", "undone": " ", "vault": "keyvault://v/n ", "again": " get"}[h.Name]
		if got := h.Certificate + " " + h.CertificateCommand; got != want {
			t.Errorf("%s: %q, want %q", h.Name, got, want)
		}
	}
}

// A name that a command contains means nothing to a shell, in any quotes: all characters that
// do (POSIX.1-2017, 2.2) are of ASCII.
func TestNamesMeanNothingToAShell(t *testing.T) {
	for c := range rune(0x80) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c)
		if name := "vm" + string(c); (nameProblem(name) == "") != letter {
			t.Errorf("%q: %q", name, nameProblem(name))
		}
	}
}

func TestHopAsWritten(t *testing.T) {
	inv := parse(t, "version: 1\nhosts:\n  a: {jump: [u@b:7, c, '[::1]', 'u@[::1]:7']}\n")
	if got := fmt.Sprint(inv.Hosts[0].Jump); got != "[u@b:7 c [::1] u@[::1]:7]" {
		t.Error(got)
	}
}

func TestHostsShareLabels(t *testing.T) {
	inv := parse(t, "version: 1\ndefaults: {labels: {a: b}}\nhosts: {\"vm-[1-2]\": {}}\n")
	one, two := reflect.ValueOf(inv.Hosts[0].Labels), reflect.ValueOf(inv.Hosts[1].Labels)
	if one.Pointer() != two.Pointer() {
		t.Error("each host has a copy of the same labels")
	}
}

func TestTolerated(t *testing.T) {
	const text = "version: 1\nhosts:\n  vm-1: {}\n"
	for name, s := range map[string]string{
		"byte order mark":  "\xef\xbb\xbf" + text,
		"CRLF":             strings.ReplaceAll(text, "\n", "\r\n"),
		"both":             "\xef\xbb\xbf" + strings.ReplaceAll(text, "\n", "\r\n"),
		"document marks":   "---\n" + text + "...\n# end\n",
		"empty sections":   "defaults:\ngroups:\nrollout:\nazure:\n" + text,
		"empty group":      "groups:\n  london:\n" + text,
		"no final newline": strings.TrimSpace(text),
	} {
		inv, err := Parse("inv.yaml", []byte(s), testEnv)
		if err != nil || len(inv.Hosts) != 1 || inv.Hosts[0].Name != "vm-1" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The contract's example uses every key and is accepted.
func TestContractExample(t *testing.T) {
	data, err := os.ReadFile("testdata/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := problems(t, string(data)); len(got) > 0 {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestHold(t *testing.T) {
	h := Health{Timeout: 2 * time.Minute, Window: 15 * time.Second}
	if got := h.Hold(); got != 3*time.Minute+15*time.Second {
		t.Errorf("by default %v", got)
	}
	h.ProofTimeout = time.Hour
	if got := h.Hold(); got != time.Hour+3*time.Minute+15*time.Second {
		t.Errorf("with a proof %v", got)
	}
	h.ConfirmTimeout = 10 * time.Second
	if got := h.Hold(); got != 10*time.Second {
		t.Errorf("as given %v", got)
	}
}
