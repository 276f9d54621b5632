package host

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestHelperPathTooLong: a path that is too long to check is not safe. The caller creates
// it, and lowers the limit on arguments with that on the stack.
func TestHelperPathTooLong(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		deep := strings.Repeat("d", 200)
		m.mkdir("/home", 0o755)
		m.mkdir("/home/caller/"+deep+"/x", 0o755)
		m.must(os.Chmod(m.root+"/home/caller", 0o777))
		m.write("/etc/crontab", "root's")
		m.must(os.Symlink(deep+"/"+strings.Repeat("x/../", 760)+"../../../etc/crontab", m.root+"/home/caller/c.p12"))
		m.write(configPath, "- cert_path: /home/caller/c.p12\n")
		m.shell = append([]string{"bash", "-c", `ulimit -s 512; exec "$@"`, "x"}, m.shell...)
		m.stage(firstRun, "evil")
		r := m.run("rotate", with(m.change(firstRun, "evil", "start=no"), "path=/home/caller/c.p12", "real=/etc/crontab", "old="+digest("root's")), "confirm "+firstRun+"\n")
		if r.get("result") != string(Refused) || m.read("/etc/crontab") != "root's" {
			t.Errorf("%v, %q", r, m.read("/etc/crontab"))
		}
	})
}

// TestHelperFolderWithACL: with an ACL a folder has group bits.
func TestHelperFolderWithACL(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		m.must(os.Chmod(m.root+"/etc/az-aoi-ingestion", 0o775))
		m.stage(firstRun, newBytes)
		r := m.run("rotate", m.change(firstRun, newBytes), "confirm "+firstRun+"\n")
		m.wants(r, Refused)
		if why := r.get("error"); !strings.Contains(why, "can write the folder /etc/az-aoi-ingestion") {
			t.Errorf("%q", why)
		}
	})
}

// TestObserveExpandsNothing: the text of a certificate is no pattern for file names.
func TestObserveExpandsNothing(t *testing.T) {
	t.Parallel()
	const made = `cd "$1" && openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -subj /CN=x -days 9 2>/dev/null &&
		openssl pkcs12 -export -inkey k -in c -passout pass: -name '/../root/*' | base64 -w 0`
	file, err := exec.Command("sh", "-c", made, "sh", t.TempDir()).Output()
	if err != nil {
		t.Fatal(err)
	}
	inEachShell(t, func(t *testing.T, m *machine) {
		m.mkdir("/root", 0o700)
		m.write("/root/secret-name", "x")
		m.mkdir("/    friendlyName: ", 0o755)
		m.write(certPath, string(file))
		r := m.run("observe", append(m.common(firstRun), value{"config", configPath}, value{"path", certPath}), noAnswer)
		if text := strings.Join(r.all("pem"), "\n"); strings.Contains(text, "secret-name") || !strings.Contains(text, "BEGIN CERTIFICATE") {
			t.Error(text)
		}
	})
}

// TestHelperTakesDiagnosticsSize: the limit on diagnostics may exceed the size of a
// certificate.
func TestHelperTakesDiagnosticsSize(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		m.stage(firstRun, newBytes)
		m.wants(m.run("rotate", m.change(firstRun, newBytes, "diagnostics=45", "size=536870912"), "confirm "+firstRun+"\n"), Rotated)
	})
}

// TestHelperWithoutDiagnostics: a host may forbid diagnostics.
func TestHelperWithoutDiagnostics(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		m.mkdir("/etc/aoifleet", 0o755)
		m.write("/etc/aoifleet/helper.conf", "diagnostics=no\n")
		m.must(os.Chmod(m.root+"/etc/aoifleet/helper.conf", 0o644))
		r := m.run("diagnose", append(m.common(firstRun), value{"source", ".aoifleet-x"}, value{"diagnostics", "9"}, value{"size", "9000000"}, value{"hold", "5"}), noAnswer)
		m.wants(r, Refused)
	})
}
