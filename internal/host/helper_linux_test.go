package host

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const configPath = "/etc/az-aoi-ingestion/config.yaml"

// withHelper installs the helper on the machine. If the test runs as root, the caller of
// the helper is another user.
func withHelper(m *machine) {
	m.t.Helper()
	m.write(configPath, "agent_id: a\nsecret_providers:\n# cert_path: /etc/shadow\n- cert_path: "+certPath+"\n")
	r := m.run("install", append(m.common(firstRun), value{"config", configPath}, value{"path", ""}, value{"new", HelperVersion()}), noAnswer)
	if r.get("result") != "installed" || r.stderr != "" {
		m.t.Fatalf("%v", r)
	}
	m.helper = true
	if onRoot(m.t) {
		m.environ = []string{"SUDO_UID=65534", "SUDO_GID=65534", "SUDO_USER=caller"}
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		values := append(m.common(firstRun), value{"config", configPath}, value{"path", ""}, value{"new", HelperVersion()})
		withHelper(m)
		m.helper, m.environ = false, nil
		text := m.read(HelperPath)
		if !strings.HasPrefix(text, "#!/bin/sh\n# aoifleet's side") || !strings.HasSuffix(text, "}\ninstalled "+HelperVersion()+" 3<&0\n") {
			t.Errorf("%.80q … %q", text, text[len(text)-80:])
		}
		if info, err := os.Stat(m.root + HelperPath); err != nil || info.Mode() != 0o755 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if m.read("/etc/aoifleet/helper.conf") != "(none)" {
			t.Error("helper.conf has the defaults")
		}
		if r := m.run("install", values, noAnswer); r.get("result") != "current" {
			t.Errorf("%v", r)
		}
		// An existing file is replaced by one rename.
		m.write(HelperPath, "echo old")
		other := with(append([]value{}, values...), "unit=az-sftp-uploader.service", "path=/x/y.p12")
		if r := m.run("install", other, noAnswer); r.get("result") != "installed" || !strings.Contains(r.get("note"), "helper.conf is written") {
			t.Errorf("%v", r)
		}
		if got, want := m.read("/etc/aoifleet/helper.conf"), "unit=az-sftp-uploader.service\nconfig="+configPath+"\nlog="+logPath+"\npath=/x/y.p12\n"; got != want {
			t.Errorf("%q", got)
		}
		if r := m.run("install", other, noAnswer); r.get("result") != "current" || r.get("note") != "" {
			t.Errorf("%v", r)
		}
		if r := m.run("install", values, noAnswer); !strings.Contains(r.get("note"), "is kept") || strings.Contains(m.read("/etc/aoifleet/helper.conf"), "ingestion.service") {
			t.Errorf("%v", r)
		}
		m.must(os.Chmod(m.root+"/usr/local", 0o777))
		r := m.run("install", values, noAnswer)
		m.wants(r, Refused)
		m.wantsError(r, "non-root users can write the folder /usr/local")
		m.settled()
	})
}

// TestHelper checks that the helper needs only values.
func TestHelper(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		r := m.run("observe", append(m.common(firstRun), value{"config", configPath}), noAnswer)
		if got := r.all("certificate"); r.get("observed") != "yes" || len(got) != 1 || got[0] != certPath || r.stderr != "" {
			t.Fatalf("%v", r)
		}
		if r.lines[0] != "ready=helper" || r.get("helper") != helperProtocol+" "+HelperVersion() {
			t.Errorf("%v", r)
		}
		r = m.run("rotate", m.change(firstRun, badBytes, "deadman=yes", "hold=60"), "confirm "+firstRun+"\n")
		m.wants(r, RolledBack)
		m.live(oldBytes)
		r = m.run("rotate", m.change(secondRun, newBytes, "deadman=yes", "hold=60"), noAnswer)
		m.wants(r, RolledBack)
		m.wantsError(r, "contact with the operator was lost")
		m.live(oldBytes)
		const thirdRun = "20261123T110000Z-cccc"
		r = m.run("rotate", m.change(thirdRun, newBytes, "deadman=yes", "hold=60", `about={"subject":"CN=another"}`), "confirm "+thirdRun+"\n")
		m.wants(r, Rotated)
		m.live(newBytes)
		// The caller's description of the certificate is not reported to others.
		if r = m.run("observe", append(m.common(firstRun), value{"config", configPath}), noAnswer); r.get("digest") != digest(newBytes) || len(r.all("about")) > 0 {
			t.Errorf("%v", r)
		}
		m.settled()
		m.wants(m.run("recover", m.common(firstRun), noAnswer), Clean)
	})
}

// TestHelperCopy: the dead-man switch runs the helper without its last line.
func TestHelperCopy(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		m.hook("on-restart", "cp \"$MACHINE\"/var/lib/aoifleet/*/backups/"+firstRun+"/host.sh \"$MACHINE\"/copy\n")
		m.run("rotate", m.change(firstRun, newBytes, "deadman=yes", "hold=60"), noAnswer)
		copied := m.read("/copy")
		if strings.Contains(copied, "\ninstalled ") || !strings.Contains(copied, "\nunattended '"+unitName+"' '"+firstRun+"' ") {
			t.Errorf("%q", copied[max(0, len(copied)-300):])
		}
	})
}

// TestHelperRefuses values that the host must choose; nothing is changed or read.
func TestHelperRefuses(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		m.write("/etc/shadow", "root:secret")
		for _, c := range []struct{ verb, values, message string }{
			{"observe", "path=/etc/shadow", "names /etc/shadow as a certificate"},
			{"rotate", "path=/etc/shadow", "names /etc/shadow as a certificate"},
			{"rotate", "path=", "no path"},
			{"rotate", "real=/etc/shadow", "leads to " + certPath + " now, not to /etc/shadow"},
			{"rotate", "path=" + certPath + "/../certificate.p12", "as a certificate"},
			{"observe", "log=/etc/shadow", "agent.log is /etc/shadow"},
			{"observe", "config=/etc/shadow", "agent.config is /etc/shadow"},
			{"recover", "unit=ssh.service", "agent.unit is ssh.service"},
			{"install", "new=00", "does not install itself"},
			{"discard", "run=", "not a run id"},
			{"stage", "size=010", "not a valid number"},
			{"stage", "size=99999999999999999999", "not a valid number"},
			{"stage", "size=1048577", "a number is too large"},
			{"rotate", "hold=400000", "a number is too large"},
			{"rotate", "proof_timeout=90000", "a number is too large"},
			{"rotate", "pipeline=a\tb", "control character"},
			{"rotate", "start=maybe", "neither yes nor no"},
			{"rotate", "old=-x", "not a digest"},
			{"rotate", "as_root=maybe", "neither yes nor no"},
			{"diagnose", "as_root=yes", "no diagnostics as root"},
			{"rotate", "owner=a\tb", "control character"},
			{"rotate", "owner=" + strings.Repeat("a", 201), "too long"},
			{"observe", `deny=(a)\1`, "back-reference"},
		} {
			values := with(m.change(firstRun, newBytes, "window=0"), c.values)
			r := m.run(c.verb, values, "confirm "+firstRun+"\n")
			if r.get("result") != "refused" || !strings.Contains(r.get("error"), c.message) || strings.Contains(r.String(), "secret") || strings.Contains(r.String(), digest("root:secret")) {
				t.Errorf("%s %s: %v", c.verb, c.values, r)
			}
			m.live(oldBytes)
		}
		for input, message := range map[string]string{"": "not a length", "end\n": "not a length", "1234567\n": "too long", "00000a1\n": "not a length", "0000004\nrun=": "incomplete", "0000000\n": "incomplete"} {
			m.hangUp = true
			if r := m.send(input, noAnswer); !strings.Contains(r.get("error"), message) {
				t.Errorf("%q: %v", input, r)
			}
		}
	})
}

// TestHelperSlowPattern: grep can need minutes to compile a pattern.
func TestHelperSlowPattern(t *testing.T) {
	t.Parallel()
	inShells(t, shells(t)[:1], func(t *testing.T, m *machine) {
		withHelper(m)
		r := m.run("observe", append(m.common(firstRun), value{"deny", "((a{1,100}){1,100}){1,100}"}), noAnswer)
		if r.get("result") != "refused" || !strings.Contains(r.get("error"), "or takes too long") {
			t.Errorf("%v", r)
		}
	})
}

// TestHelperConfiguration: the helper trusts only files that only root can write, and uses
// only paths that the caller can't redirect.
func TestHelperConfiguration(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can be called by another user
	}
	inShells(t, shells(t)[:1], func(t *testing.T, m *machine) {
		withHelper(m)
		const conf = "/etc/aoifleet/helper.conf"
		m.mkdir("/etc/aoifleet", 0o755)
		m.mkdir("/home", 0o755)
		m.mkdir("/home/caller", 0o755)
		m.must(os.Lchown(m.root+"/home/caller", 65534, 65534))
		m.write("/home/caller/c.p12", oldBytes)
		m.write("/etc/other.p12", oldBytes)
		look := func(path, message string) {
			t.Helper()
			r := m.run("observe", append(m.common(firstRun), value{"path", path}), noAnswer)
			said := r.get("error")
			if message == "" && said == "" && r.get("observed") == "yes" {
				return
			}
			if message == "" || !strings.Contains(said, message) || r.get("digest") != "" {
				t.Errorf("%s: %v", path, r)
			}
		}
		look(certPath, "")
		m.write(conf, "# ours\n\npath=/etc/other.p12\npath=/home/caller/c.p12")
		look("/etc/other.p12", "")
		look(certPath, "names "+certPath+" as a certificate")
		look("/home/caller/c.p12", "caller can write the folder /home/caller")
		m.must(os.Remove(m.root + conf))
		config := m.read(configPath)
		m.write(configPath, config+"- cert_path: /home/caller/c.p12\n")
		if r := m.run("observe", m.common(firstRun), noAnswer); strings.Join(r.all("certificate"), " ") != certPath {
			t.Errorf("%v", r)
		}
		look("/home/caller/c.p12", "caller can write the folder /home/caller")
		// No line of it is expanded as a pattern for file names.
		m.write(configPath, config+"*/*\n")
		m.mkdir("/config=x cert_path: ", 0o755)
		m.write("/config=x cert_path: /y", "")
		look("/y", "names /y as a certificate")
		// No one can write a missing folder.
		m.write(configPath, config)
		m.must(os.Rename(m.root+"/var/log/az-aoi-ingestion", m.root+"/var/log/later"))
		look(certPath, "")
		m.must(os.Rename(m.root+"/var/log/later", m.root+"/var/log/az-aoi-ingestion"))
		m.must(os.Symlink("/home/caller/c.p12", m.root+"/etc/link.p12"))
		m.write(conf, "path=/etc/link.p12")
		look("/etc/link.p12", "caller can write the folder /home/caller")
		for text, message := range map[string]string{
			"unit":                    "a line of " + conf,
			"path=relative":           "a line of " + conf,
			"unit=b.service":          "agent.unit is " + unitName,
			"log=/home/caller/x\n":    "agent.log is " + logPath,
			"config=/home/caller/c\n": "caller can write the folder /home/caller/ in the path of the agent's configuration",
		} {
			m.write(conf, text)
			look("", message)
		}
		m.must(os.Remove(m.root + conf))
		for _, path := range []string{configPath, "/etc/az-aoi-ingestion"} {
			m.must(os.Lchown(m.root+path, 65533, 65533))
			look("", "non-root users can write "+configPath)
			m.must(os.Lchown(m.root+path, 0, 0))
		}
		m.must(os.Chmod(m.root+configPath, 0o664))
		look("", "non-root users can write "+configPath)
		m.must(os.Chmod(m.root+configPath, 0o644))
		m.must(os.Chmod(m.root+"/var/log/az-aoi-ingestion", 0o777))
		look("", "caller can write the folder /var/log/az-aoi-ingestion/ in the path of the agent's log")
		m.must(os.Chmod(m.root+"/var/log/az-aoi-ingestion", 0o755))
		m.write(conf, "unit=x\n")
		m.must(os.Lchown(m.root+conf, 65534, 65534))
		look("", "non-root users can write "+conf)
		m.must(os.Remove(m.root + conf))
		m.must(os.Symlink("/home/caller/conf", m.root+conf))
		look("", "non-root users can write "+conf)
		m.must(os.Remove(m.root + conf))
		look("", "")
	})
}

// TestSudoersRuleIsSound checks the rules with visudo.
func TestSudoersRuleIsSound(t *testing.T) {
	path, err := exec.LookPath("visudo")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("visudo is needed for this test")
		}
		t.Skip("no visudo")
	}
	text := "Defaults!" + HelperPath + " env_reset, !setenv, !requiretty, passwd_tries=1\n"
	for _, user := range []string{"azureuser", `CORP\bob`, "bob@corp.example", "FLEET", "a,b=c:d", `x"y`} {
		for _, password := range []bool{true, false} {
			rule, err := Sudoers(user, password)
			if err != nil {
				t.Fatal(err)
			}
			text += rule + "\n"
		}
	}
	cmd := exec.Command(path, "-cf", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
}

func TestCheckHelper(t *testing.T) {
	v := &VM{}
	v.host.Helper = HelperPath
	for said, want := range map[string]string{
		"helper=2 " + HelperVersion(): "",
		"helper=2 0123":               "another version than this program",
		"helper=1 0123":               "can't use",
		"helper=":                     "is not aoifleet's helper",
		"welcome":                     "is not aoifleet's helper",
	} {
		note, err := v.checkHelper(parseFound([]byte(said + "\nobserved=yes\n")))
		if got := note + fmt.Sprint(err); want == "" && (note != "" || err != nil) || !strings.Contains(got, want) {
			t.Errorf("%s: %s", said, got)
		}
	}
}
