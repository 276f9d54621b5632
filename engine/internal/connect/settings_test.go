package connect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// parse returns the settings of a command line and an environment.
func parse(t *testing.T, environment map[string]string, args ...string) Settings {
	t.Helper()
	var s Settings
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s.AddFlags(flags, func(name string) string { return environment[name] })
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return s
}

// keys returns the path of a file with a new key.
func keys(t *testing.T) string {
	t.Helper()
	line, err := codec.NewKey("first")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Payloads without encryption and connections without TLS are only for who asks for them.
func TestCheck(t *testing.T) {
	file := keys(t)
	for name, c := range map[string]struct{ args, want string }{
		"defaults":              {"", "there are no keys to encrypt what the server stores"},
		"keys":                  {"--payload-keys " + file, ""},
		"lab":                   {"--plaintext", ""},
		"keys, lab":             {"--plaintext --payload-keys " + file, "exclude each other"},
		"two keyrings":          {"--payload-keys-command x --payload-keys " + file, "exclude each other"},
		"keys that are no":      {"--payload-keys /dev/null", "/dev/null is not a regular file"},
		"command":               {"--payload-keys-command false", "its command failed: exit status 1"},
		"localhost":             {"--plaintext --address localhost:7233", ""},
		"IPv6":                  {"--plaintext --address [::1]:7233", ""},
		"another machine":       {"--plaintext --address temporal.example:7233", "temporal.example:7233 is another machine"},
		"a name like it":        {"--plaintext --address localhost.example:7233", "is another machine"},
		"all addresses":         {"--plaintext --address 0.0.0.0:7233", "is another machine"},
		"another, lab":          {"--plaintext --address temporal.example:7233 --insecure", ""},
		"another, TLS":          {"--plaintext --address temporal.example:7233 --tls-server-name temporal", ""},
		"TLS and not":           {"--plaintext --tls-server-name temporal --insecure", "--insecure is without TLS"},
		"no port":               {"--plaintext --address temporal", `--address is not HOST:PORT: "temporal"`},
		"no host":               {"--plaintext --address :7233", "--address is not HOST:PORT"},
		"no namespace":          {"--plaintext --namespace=", "--namespace is empty"},
		"certificate, no key":   {"--plaintext --tls-cert-path x", "belong together"},
		"key, no certificate":   {"--plaintext --tls-key-path x", "belong together"},
		"no such CA":            {"--plaintext --tls-ca-path /nowhere", "can't read /nowhere: no such file"},
		"a CA that is none":     {"--plaintext --tls-ca-path " + file, "has no certificate in PEM"},
		"a pair that is none":   {"--plaintext --tls-cert-path " + file + " --tls-key-path " + file, "are not a certificate and its key"},
		"no such key":           {"--plaintext --tls-key-path /nowhere --tls-cert-path " + file, "can't read /nowhere: no such file"},
		"no such client's":      {"--plaintext --tls-cert-path /nowhere --tls-key-path " + file, "can't read /nowhere: no such file"},
		"a key others can read": {"--plaintext --tls-cert-path " + file + " --tls-key-path /etc/passwd", "/etc/passwd can be read or written by others"},
	} {
		_, _, err := parse(t, nil, strings.Fields(c.args)...).Options(t.Context())
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !problem.Is(err, problem.Usage)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// The environment has the names that Temporal's own programs read; a flag comes first.
func TestEnvironment(t *testing.T) {
	s := parse(t, map[string]string{
		"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_NAMESPACE": "fleet", "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "ca",
		"TEMPORAL_TLS_CLIENT_CERT_PATH": "cert", "TEMPORAL_TLS_CLIENT_KEY_PATH": "key", "TEMPORAL_TLS_SERVER_NAME": "name",
		"AOIFLEET_PAYLOAD_KEYS": "keys", "AOIFLEET_PAYLOAD_KEYS_COMMAND": "command",
	}, "--namespace", "other")
	want := Settings{Address: "temporal.example:7233", Namespace: "other", CA: "ca", Cert: "cert", Key: "key", ServerName: "name", PayloadKeys: "keys", PayloadKeysCommand: "command"}
	if s != want {
		t.Errorf("%+v", s)
	}
	if s := parse(t, nil); s != (Settings{Address: "127.0.0.1:7233", Namespace: "default"}) {
		t.Errorf("%+v", s)
	}
}
