package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What keeps a worker from starting is said with what to do, before anything is contacted.
func TestWorkerThatDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("fleet.yaml", "version: 1\ndefaults: {user: u, known_hosts: k, ssh_config: none, password_from: {command: exit 1}}\ngroups: {london: {hosts: {a: {}}}}\n")
	bad := write("bad.yaml", "version: 1\nhosts: {a: {colour: red}}\n")
	paris := write("paris", "site-paris "+strings.Repeat("A", 43)+"=\n")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"worker", 2, "error: --site is missing"},
		{"worker --site london", 2, "error: --inventory is missing"},
		{"worker --site london -i " + dir + "/none.yaml", 2, "no such file"},
		{"worker --site london -i " + bad, 2, `unknown key "colour"`},
		{"worker --site londno -i " + good, 2, `hint: did you mean "london"?`},
		{"worker --site london -i " + good, 2, "there are no keys to encrypt"},
		{"worker --site london -i " + good + " --payload-keys " + paris + " --address 127.0.0.1:1", 2, "error: the payload keys are those of the site paris\nhint: "},
		{"control --payload-keys " + paris + " --address 127.0.0.1:1", 2, "error: the first of the payload keys is that of the site paris\nhint: "},
		{"talk --payload-keys " + paris + " --address 127.0.0.1:1", 2, "error: the first of the payload keys is that of the site paris\nhint: "},
		{"worker --site london -i " + good + " --plaintext --address 127.0.0.1:1", 4, "can't reach the Temporal server at 127.0.0.1:1"},
		{"control", 2, "there are no keys to encrypt"},
		{"control --plaintext --address 127.0.0.1:1", 4, "can't reach the Temporal server at 127.0.0.1:1"},
	} {
		var stderr bytes.Buffer
		p := process{stdin: strings.NewReader(""), stdout: &stderr, stderr: &stderr, getenv: func(string) string { return "" }}
		if code := run(t.Context(), p, strings.Fields(c.args)); code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: %d\n%s", c.args, code, stderr.String())
		}
	}
}
