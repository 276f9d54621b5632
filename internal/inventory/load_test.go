package inventory

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExamplesLoad(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d examples (%v)", len(files), err)
	}
	for _, file := range files {
		inv, err := Load(file, testEnv)
		if err != nil {
			t.Errorf("%s", err)
			continue
		}
		if all, err := inv.Select("all"); err != nil || len(all) != len(inv.Hosts) {
			t.Errorf("%s: all selects %d of %d hosts (%v)", file, len(all), len(inv.Hosts), err)
		}
		data, err := os.ReadFile(file)
		if checkSchema(t, data, err); !strings.HasPrefix(string(data), "# yaml-language-server: $schema=../docs/inventory.schema.json\n") {
			t.Errorf("%s: its first line does not name the schema", file)
		}
	}
}

// The inventories in the documents can be read, as parts of one.
func TestDocumentsLoad(t *testing.T) {
	count := 0
	for _, pattern := range []string{"../../README.md", "../../docs/*.md"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range strings.Split(string(data), "\n```yaml\n")[1:] {
				text, _, _ := strings.Cut(block, "\n```")
				if !strings.Contains(text, "version:") {
					text = "version: 1\n" + text
				}
				if !strings.Contains(text, "hosts:") {
					text += "\nhosts: {a: {labels: {site: london}}, b: {labels: {site: paris}}}\n"
				}
				if count++; len(problems(t, text)) > 0 {
					t.Errorf("%s: %q\n%s", file, problems(t, text), text)
				}
			}
		}
	}
	if count < 4 {
		t.Errorf("%d inventories", count)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFileSize+1); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.yaml")
	for path, want := range map[string]string{
		missing: missing + ": there is no such file (name the inventory with -i FILE or AOIFLEET_INVENTORY)",
		large:   large + ": the file is larger than 32 MiB",
		dir:     dir + ": can't be read: ",
	} {
		_, err := Load(path, testEnv)
		var errs Errors
		if !errors.As(err, &errs) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLoadResolvesFromItsFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "inv.yaml")
	const text = "version: 1\ndefaults:\n  certificate: ../certs/{name}.b64\nhosts:\n  vm-[1-2]:\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	inv, err := Load(file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := inv.Hosts[1].Certificate, filepath.Join(filepath.Dir(dir), "certs", "vm-2.b64"); got != want {
		t.Errorf("certificate %q, want %q", got, want)
	}
}

func TestEnvironmentMissing(t *testing.T) {
	const text = "version: 1\nhosts:\n  vm-1:\n  vm-2:\n"
	for _, c := range []struct {
		env  Env
		want string
	}{
		{Env{Home: "/h"}, "inv.yaml:3:3: host vm-1 has no user, and your login name is unknown (set \"user\")"},
		{Env{User: "u"}, "inv.yaml:3:3: host vm-1 has no known_hosts, and your home directory is unknown (set \"known_hosts\")"},
	} {
		if _, err := Parse("inv.yaml", []byte(text), c.env); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	_, err := Parse("inv.yaml", []byte("version: 1\ndefaults: {user: u, known_hosts: ~/k}\nhosts: {a: }\n"), Env{})
	if err == nil || !strings.Contains(err.Error(), "can't expand ~") {
		t.Errorf("got %v", err)
	}
}
