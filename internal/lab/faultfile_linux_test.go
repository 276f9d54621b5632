package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFaultsFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "faults")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(m *Machine) bool { client, err := dial(m); closeIf(client); return err != nil }
	write("london-sftp-01 auth-refused\nparis-* unreachable\n")
	notices := make(chan string, 100)
	f := start(t, Options{Dir: dir, Machines: 6, Notice: func(message string) { notices <- message }})
	london, paris := f.Machine("london-sftp-01"), f.Machine("paris-sftp-01")
	if !refused(london) || !refused(paris) || !refused(f.Machine("paris-edr-02")) || refused(f.Machine("madrid-sftp-01")) {
		t.Error("the file is not followed")
	}
	write("london-sftp-01 exit-at-start\n")
	if refused(london) { // read with the connection, at the latest
		t.Error("the change is not followed")
	}
	if data, err := os.ReadFile(london.agentFault); err != nil || string(data) != "exit-at-start\n" {
		t.Errorf("the agent's faults: %q, %v", data, err)
	}
	eventually(t, "a closed port opens again", func() bool { return !refused(paris) })
	write("london-sftp-01 explode\n")
	if notice := <-notices; !strings.Contains(notice, "faults:1: unknown fault") {
		t.Error(notice)
	}
	// A wrong line is named, and the others apply.
	write("nowhere unreachable\nlondon-sftp-01 auth-refused\nparis-* restart-slow soon\n")
	if !refused(london) {
		t.Error("one wrong line disables the others")
	}
	for _, want := range []string{`faults:1: no machine is called "nowhere"`, "faults:3: fault restart-slow needs a duration"} {
		if notice := <-notices; !strings.Contains(notice, want) {
			t.Errorf("%q, not %q", notice, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no file, no fault", func() bool { return len(london.faults.all()) == 0 })
}

func TestParseFault(t *testing.T) {
	tests := map[string]string{ // line: argument, or "error: " and a part of it
		"unreachable":                        "",
		"unreachable now":                    "error: takes no argument",
		"cut-on confirm RUN":                 "confirm RUN",
		`cut-on "\nconfirm "`:                "\nconfirm ",
		`cut-on in:"a b"`:                    "a b",
		"silent-on out:x":                    "x",
		"noise in:x":                         "in:x",
		"gone-on in:":                        "error: needs a text",
		`cut-on "x`:                          "error: quotes",
		"cut-on":                             "error: needs a text",
		"cut-on " + strings.Repeat("x", 257): "error: at most 256",
		"cut-after 0":                        "error: needs a count",
		"cut-after 17":                       "17",
		"disk-full":                          "",
		"disk-full some":                     "error: needs a count",
		"missing-tool ../x":                  "error: name of a program",
		"missing-tool systemd-run":           "systemd-run",
		"restart-slow 3":                     "error: duration",
		"restart-slow 3s":                    "3s",
		"exit-after x":                       "error: duration",
		"clock-jump 0s":                      "error: duration",
		"clock-jump -48h":                    "-48h",
		"reboot-on out:step=swap":            "step=swap",
		"kill-on in:":                        "error: needs a text",
		"timer-fails in:x":                   "in:x",
		"timer-dead now":                     "error: takes no argument",
		"exit-after 1s":                      "1s",
		"":                                   "error: unknown fault",
		"explode":                            "error: unknown fault",
	}
	for line, want := range tests {
		f, err := parseFault(line)
		if part, wrong := strings.CutPrefix(want, "error: "); wrong {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v, want %q", line, err, part)
			}
		} else if err != nil || f.argument != want {
			t.Errorf("%q: %q, %v", line, f.argument, err)
		}
	}
}

func TestSetFaultRefused(t *testing.T) {
	_, m := startOne(t, Options{})
	if err := m.SetFault("unreachable", "explode"); err == nil {
		t.Error("an unknown fault")
	}
	mustDial(t, m)
}
