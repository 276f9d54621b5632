package host

import (
	"os"
	"strings"
	"testing"
)

const knownHostsPath = "/etc/ssh/ssh_known_hosts"

// TestFileIsSentWhole with its exact bytes, if they are asked for, and only where root may trust
// the path: the agent's user must not choose which of root's files leave the host.
func TestFileIsSentWhole(t *testing.T) {
	t.Parallel()
	const text = "# ours\r\n\x00 |1|x ssh-rsa\n\nobserved=yes"
	for name, c := range map[string]struct {
		prepare func(m *machine)
		sent    bool
		problem string
	}{
		"root's own":                         {func(*machine) {}, true, ""},
		"none":                               {func(m *machine) { m.must(os.Remove(m.root + knownHostsPath)) }, false, ""},
		"too large":                          {func(m *machine) { m.write(knownHostsPath, strings.Repeat("x", MaxFile+1)) }, false, "larger than 1 MiB"},
		"others can write the configuration": {func(m *machine) { m.must(os.Chmod(m.root+configPath, 0o666)) }, false, "the agent's user does not own the file"},
		"others can write the folder":        {func(m *machine) { m.foreign("/etc/ssh") }, false, "can write the folder /etc/ssh"},
		"a link of others to root's file": {func(m *machine) {
			m.foreign("/etc/ssh")
			m.link(m.secret(), knownHostsPath)
		}, false, "can write the folder /etc/ssh"},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.configurable()
				m.mkdir("/etc/ssh", 0o755)
				m.write(knownHostsPath, text)
				m.must(os.Chmod(m.root+knownHostsPath, 0o644))
				c.prepare(m)
				if got := m.observed("also=" + knownHostsPath).Content(knownHostsPath); got.Data != nil {
					t.Errorf("it is sent without being asked for: %q", got.Data)
				}
				out := m.run("observe", with(append(m.common(firstRun), value{"config", configPath}), "configuration=yes", "also="+knownHostsPath, "whole=yes"), noAnswer)
				_, others, _ := strings.Cut(strings.Join(out.lines, "\n"), "\nother=")
				if sent := strings.Contains(others, "\ncontent="); sent != c.sent || out.stderr != "" {
					t.Errorf("%v", out)
				}
				got := m.observed("also="+knownHostsPath, "whole=yes").Content(knownHostsPath)
				p := got.Problem()
				if c.sent && string(got.Data) != text || !c.sent && got.Data != nil || (p != nil) != (c.problem != "") || p != nil && !strings.Contains(p.Message, c.problem) {
					t.Errorf("%q, %v, %+v", got.Data, p, got.File)
				}
			})
		})
	}
}
