package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// observed observes a machine with its configuration as a file.
func (m *machine) observed(others ...string) *Observation {
	m.t.Helper()
	o, _, err := m.look(inventory.Agent{Config: configPath}, append([]string{"configuration=yes"}, others...)...)
	m.must(err)
	return o
}

// TestConfigurationIsSeen with its exact bytes and facts, whatever they are.
func TestConfigurationIsSeen(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("# 0123456789 0123456789 0123456789 0123456789 0123456789\n", 1<<15)
	for name, c := range map[string]struct {
		text, unnamed, problem string
	}{
		"usual":                 {config(certPath) + "pipelines: []\n\n\n", "", ""},
		"no newline at the end": {strings.TrimSpace(config(certPath)), "", ""},
		"CR":                    {"a: b\r\n\r" + config(certPath) + "\r\n", "", ""},
		"NUL":                   {"a: \x00\n" + config(certPath), "control characters", ""},
		"not UTF-8":             {"a: \xff\n", "not UTF-8", ""},
		"not YAML":              {"a: [\n", "config.yaml: ", ""},
		"empty":                 {"", "no secret provider", ""},
		"two certificates":      {strings.Repeat("- x\n", 3), "must be", ""},
		"looks like an answer":  {"digest=none\nkind=missing\nobserved=yes\nend=0\n", "config.yaml: ", ""},
		"4001 lines":            {strings.Repeat("#\n", 4001) + config(certPath), "more than 4000 lines", ""},
		"1 MiB":                 {long[:MaxFile], "more than 4000 lines", ""},
		"larger":                {long[:MaxFile+1], "larger than 1 MiB", "larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.write(configPath, c.text)
				m.must(os.Chmod(m.root+configPath, 0o640))
				before := m.snapshot()
				o := m.observed()
				seen := o.Configuration
				p := seen.Problem()
				if (p != nil) != (c.problem != "") || p != nil && !strings.Contains(p.Message, c.problem) {
					t.Errorf("%v", p)
				}
				if p == nil && (seen.Data == nil || string(seen.Data) != c.text || seen.File.Digest != digest(c.text)) || p != nil && seen.Data != nil {
					t.Errorf("%.100q, digest %s", seen.Data, seen.File.Digest)
				}
				if f := seen.File; f.Path != configPath || f.Real != configPath || f.Mode != "640" || f.Kind != "file" || f.Folder != m.identity("/etc/az-aoi-ingestion") || f.Size != int64(len(c.text)) || f.Guarded {
					t.Errorf("%+v", f)
				}
				if (o.Unnamed == nil) != (c.unnamed == "") || o.Unnamed != nil && (!strings.Contains(o.Unnamed.Message, c.unnamed) || o.Provider != nil) {
					t.Errorf("%v, %+v", o.Unnamed, o.Provider)
				}
				if c.unnamed == "" && (o.File.Real != certPath || o.File.Digest != digest(oldBytes)) {
					t.Errorf("%+v", o.File)
				}
				if m.snapshot() != before {
					t.Error("something was changed")
				}
			})
		})
	}
}

// TestConfigurationIsTheSame in the two forms in which it is observed, so that each rotates.
func TestConfigurationIsTheSame(t *testing.T) {
	t.Parallel()
	for name, c := range configurations() {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.write(configPath, c.text)
				o, _, err := m.look(inventory.Agent{})
				seen := m.observed()
				if err != nil || o.Configuration != nil || o.Configured != seen.Configured || o.Provider.Path != seen.Provider.Path || o.Unnamed != nil {
					t.Errorf("%v: %+v, %+v", err, o, seen)
				}
			})
		})
	}
}

// TestConfigurationThatIsNoFile, or that others can write or replace.
func TestConfigurationThatIsNoFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare       func(m *machine)
		kind, problem string
	}{
		"missing":   {func(m *machine) { m.must(os.Remove(m.root + configPath)) }, "missing", ""},
		"no folder": {func(m *machine) { m.must(os.RemoveAll(m.root + "/etc/az-aoi-ingestion")) }, "nodir", "the folder of"},
		"a FIFO": {func(m *machine) {
			m.must(os.Remove(m.root + configPath))
			m.must(syscall.Mkfifo(m.root+configPath, 0o600))
		}, "other", "not a regular file"},
		"a folder":           {func(m *machine) { m.must(os.Remove(m.root + configPath)); m.mkdir(configPath, 0o755) }, "other", "not a regular file"},
		"a link":             {func(m *machine) { m.write("/srv.yaml", "x: y\n"); m.link("/srv.yaml", configPath) }, "file", ""},
		"a link to nothing":  {func(m *machine) { m.link("/srv.yaml", configPath) }, "missing", ""},
		"in a folder of all": {func(m *machine) { m.foreign("/etc/az-aoi-ingestion") }, "file", "can write the folder /etc/az-aoi-ingestion"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				c.prepare(m)
				o := m.observed()
				p := o.Configuration.Problem()
				if o.Configuration.File.Kind != c.kind || (p != nil) != (c.problem != "") || p != nil && !strings.Contains(p.Message, c.problem) || o.Unnamed == nil {
					t.Errorf("%+v %v", o.Configuration, p)
				}
				if (o.Configuration.Data != nil) != (c.kind == "file") {
					t.Errorf("%q", o.Configuration.Data)
				}
			})
		})
	}
}

// TestConfigurationThatMustStay tells the certificate all the same: a rollback of the certificate
// observes the configuration too, and does not change it.
func TestConfigurationThatMustStay(t *testing.T) {
	t.Parallel()
	inOneShell(t, func(t *testing.T, m *machine) {
		m.write(configPath, config(certPath))
		m.foreign("/etc/az-aoi-ingestion")
		o := m.observed()
		if o.Configuration.Problem() == nil || o.Unnamed != nil || o.Provider == nil || o.Provider.Path != certPath {
			t.Errorf("%v, %v, %+v", o.Configuration.Problem(), o.Unnamed, o.Provider)
		}
	})
}

// TestConfigurationChangedWhileItIsRead: the bytes that are shown are those of the digest, and
// what a user puts in the place of the file is not read.
func TestConfigurationChangedWhileItIsRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ at, change string }{
		"written":            {"    contents \"$place\" \"$leaf\" | base64", `printf x >>"$ROOT$config"`},
		"replaced":           {"    contents \"$place\" \"$leaf\" | base64", `printf x >"$ROOT/x" && mv "$ROOT/x" "$ROOT$config"`},
		"removed":            {"    contents \"$place\" \"$leaf\" | base64", `rm "$ROOT$config"`},
		"a link":             {"    contents \"$place\" \"$leaf\" | base64", `ln -sf "$ROOT/root.secret" "$ROOT$config"`},
		"a link before that": {"    path=$config by_inventory=yes\n", `ln -sf "$ROOT/root.secret" "$ROOT$config"`},
		"a FIFO":             {"    contents \"$place\" \"$leaf\" | base64", `rm "$ROOT$config"; mkfifo "$ROOT$config"`},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.write("/root.secret", canary)
				m.text = strings.Replace(m.text, strings.TrimLeft(c.at, " "), c.change+"\n"+c.at, 1)
				if m.text == sent {
					t.Fatal("nothing is replaced")
				}
				seen := m.observed().Configuration
				if p := seen.Problem(); p == nil || p.Class != problem.Drift || seen.Data != nil {
					t.Errorf("%+v %v", seen, p)
				}
			})
		})
	}
}

// TestConfigurationOnlyIfAsked: without the option nothing more is printed. The helper prints
// it too: its login user may read the configuration.
func TestConfigurationOnlyIfAsked(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		_, f, err := m.look(inventory.Agent{})
		if f.configuration != nil || f.fields["configured"] != "" || err == nil {
			t.Errorf("%+v %v", f, err)
		}
		withHelper(m)
		if seen := m.observed().Configuration; seen.Problem() != nil || string(seen.Data) != m.read(configPath) {
			t.Errorf("%+v", seen)
		}
	})
}

// TestContentMustHaveItsDigest: a host that sends other bytes, or more, is not believed.
func TestContentMustHaveItsDigest(t *testing.T) {
	sum := sha256.Sum256([]byte("ab"))
	for name, c := range map[string]struct {
		lines string
		known bool
	}{
		"right":            {"content=YQ==\ncontent=Yg==\n", true},
		"other bytes":      {"content=YQ==\ncontent=Yw==\n", false},
		"not base64":       {"content=YQ==\ncontent=Yg==\ncontent=!\n", false},
		"nothing":          {"", false},
		"one with no file": {"certificate=/x\ncontent=YWI=\n", false},
	} {
		f := parseFound([]byte("content=YWI=\nconfiguration=/c\nkind=file\nreal=/c\ndigest=" + fmt.Sprintf("%x", sum) + "\n" + c.lines))
		seen := f.configuration.whole()
		if (seen.Data != nil) != c.known || (seen.Problem() == nil) != c.known {
			t.Errorf("%s: %+v", name, seen)
		}
	}
	var file foundFile
	for range 200 {
		file.addContent(strings.Repeat("AAAA", 4000))
	}
	if len(file.content) > MaxFile || !file.damaged {
		t.Errorf("%d bytes are kept", len(file.content))
	}
}

// TestLargestConfiguration arrives, also if each character of it is changed by base64; a call that
// does not ask for it may not send so much.
func TestLargestConfiguration(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	data := []byte(strings.Repeat("\xff", MaxFile))
	answer := "configuration=" + configPath + "\nkind=file\nreal=" + configPath + "\ndigest=" + digest(string(data)) + "\n"
	for text := base64.StdEncoding.EncodeToString(data); text != ""; {
		n := min(8000, len(text))
		answer, text = answer+"content="+text[:n]+"\n", text[n:]
	}
	s.install(t, "sudo", `cat "$DIR/answer"; exec cat >/dev/null`)
	check(t, os.WriteFile(s.dir+"/answer", []byte(answer+"observed=yes\nend=0\n"), 0o600))
	h := inventory.Host{Name: "vm", User: "azureuser", Agent: inventory.Agent{Unit: unitName, Config: configPath, Log: logPath}}
	v := New(s.dial(t), h, Run{ID: "r"}, nil)
	if o, err := v.Observe(t.Context(), ObserveOptions{Configuration: true}); err != nil || !bytes.Equal(o.Configuration.Data, data) {
		t.Fatalf("%v", err)
	}
	check(t, v.Close())
	v = New(s.dial(t), h, Run{ID: "r"}, nil)
	if _, err := v.Observe(t.Context(), ObserveOptions{}); err == nil || !strings.Contains(err.Error(), "more output than allowed") {
		t.Errorf("%v", err)
	}
}
