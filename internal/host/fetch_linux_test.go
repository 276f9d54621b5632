package host

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// tool puts a stand-in of a program of the package manager in front of all others. It has only
// shell code, because it gets no environment.
func (m *machine) tool(name, code string) {
	m.t.Helper()
	m.faults = m.root + "/tool"
	m.write("/tool/"+name, "#!/bin/sh\n"+code+"\n")
	m.must(exec.Command("chmod", "755", m.root+"/tool/"+name).Run())
}

// printing is shell code that prints a text and exits.
func printing(status int, text string) string {
	return fmt.Sprintf("cat <<'END'\n%s\nEND\nexit %d", text, status)
}

// none are tools of managers that the machine does not have.
func (m *machine) installedBy(manager, version string) {
	m.t.Helper()
	m.tool("dpkg-query", "echo dpkg-query: no packages found >&2; exit 1")
	m.tool("rpm", printing(1, "package az-aoi-ingestion is not installed"))
	switch manager {
	case "apt":
		m.tool("dpkg-query", "case $* in *-L*) echo /lib/systemd/system/az-aoi-ingestion.service ;; *) "+printing(0, version)+"\n;; esac")
	default:
		m.tool("rpm", "case $* in *-ql*) echo /usr/lib/systemd/system/az-aoi-ingestion.service ;; *) "+printing(0, version)+"\n;; esac")
	}
	for _, name := range []string{"apt-get", "dnf", "yum"} {
		m.tool(name, "exit 1")
	}
}

// TestVersions parses what the real programs print (apt 2.6, dnf 4.14; yum as documented).
func TestVersions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		manager, installed string
		tools              map[string]string
		want               string
	}{
		"apt": {"apt", "install ok installed 1.0.0-1", map[string]string{"apt-get": "exit 0", "apt-cache": printing(0, ` az-aoi-ingestion | 1:0.9.0-1 | file:/srv ./ Packages
 az-aoi-ingestion |    1.10.0-1 | file:/srv ./ Packages
 az-aoi-ingestion |    1.10.0-1 | https://other ./ Packages
 az-aoi-ingestion |    1.9.0-1 | file:/srv ./ Packages`)}, "manager=apt installed=1.0.0-1 version=1:0.9.0-1 version=1.10.0-1 version=1.9.0-1 result=versions"},
		"apt, at work, not restarted": {"apt", "install ok installed 1.0.0-1", map[string]string{"apt-get": "exit 0", "apt-cache": "exit 0", "systemctl": "echo MainPID=7"},
			"manager=apt installed=1.0.0-1 broken=dpkg is at work, or was interrupted (then: dpkg --configure -a) older=yes result=versions"},
		"apt, held, interrupted": {"apt", "hold reinstreq half-installed 1.0.0-1", map[string]string{"apt-get": printing(100, "Reading package lists...\nE: Could not get lock /var/lib/apt/lists/lock. It is held by process 155 (python3)"), "apt-cache": "exit 0"},
			"manager=apt installed=1.0.0-1 broken=az-aoi-ingestion 1.0.0-1 is not completely installed held=yes note=cannot refresh the lists of packages: E: Could not get lock /var/lib/apt/lists/lock. It is held by process 155 (python3) result=versions"},
		"dnf": {"dnf", "1.9.0-1", map[string]string{"dnf": `case $* in *--refresh*) ;; *) exit 1 ;; esac
` + printing(0, "Importing GPG key 0x9DA82601:\nIs this ok [y/N]: \n1.10.0-1\n\n1.9.0-1\n1.10.0~rc1-1\n1:0.1-1\n$(id)")}, "manager=dnf installed=1.9.0-1 version=1:0.1-1 version=1.10.0-1 version=1.10.0~rc1-1 version=1.9.0-1 result=versions"},
		"dnf, two versions": {"dnf", "1.0.0-1\n1.1.0-1", map[string]string{"dnf": printing(1, "Error: no repository")},
			"manager=dnf installed=1.0.0-1 broken=az-aoi-ingestion 1.0.0-1 is not completely installed note=cannot list the versions: Error: no repository result=versions"},
		"yum": {"yum", "1.9.0-1", map[string]string{"yum": printing(0, "Available Packages\naz-aoi-ingestion.x86_64      1.9.0-1    vendor\naz-aoi-ingestion.x86_64\n                             1:1.10.0-1    vendor")},
			"manager=yum installed=1.9.0-1 version=1:1.10.0-1 version=1.9.0-1 result=versions"},
		"nothing": {"", "", map[string]string{"apt-cache": "exit 0"}, "manager=apt installed= note=cannot refresh the lists of packages:  result=versions"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.installedBy(c.manager, c.installed)
				if c.manager == "yum" { // the machine of the test may have dnf
					m.must(exec.Command("rm", m.root+"/tool/dnf").Run())
					m.tool("sort", `exec /usr/bin/sort "$@"`)
					m.only = m.root + "/tool:" + tools + "/few"
				}
				for name, code := range c.tools {
					m.tool(name, code)
				}
				if name == "apt, at work, not restarted" {
					m.must(cmp.Or(os.MkdirAll(m.root+"/var/lib/dpkg/updates", 0o755), os.MkdirAll(m.root+"/proc/7", 0o755)))
					m.write("/var/lib/dpkg/updates/0001", "")
					m.must(os.Symlink("/usr/bin/agent (deleted)", m.root+"/proc/7/exe"))
				}
				r := m.run("versions", with(m.common(firstRun), "package="+pkgName, "refresh=yes"), noAnswer)
				if got := strings.Join(r.lines, " "); got != c.want || r.stderr != "" {
					t.Errorf("%v\n%s", r, c.want)
				}
			})
		})
	}
}

// TestInstallPackage has what the real programs print (dpkg 1.21, rpm 4.18), and how many tries
// follow.
func TestInstallPackage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ manager, said, want string }{
		"apt":                {"apt", printing(0, "Setting up az-aoi-ingestion"), "0 1 why= passing= complaint="},
		"apt, locked":        {"apt", `[ -e "$0.2" ] || ` + "{\n: >\"$0.2\"\n" + printing(2, "dpkg: error: dpkg frontend lock was locked by another process with pid 142") + "\n}", "0 2 why= passing= complaint="},
		"apt, always locked": {"apt", printing(2, "dpkg: error: dpkg frontend lock is locked by another process"), "1 3 why=another process uses the package manager passing=yes complaint="},
		"apt, script": {"apt", printing(1, "dpkg: error processing package az-aoi-ingestion (--install):\n installed az-aoi-ingestion package post-installation script subprocess returned error exit status 7\nErrors were encountered"),
			"1 1 why=installed az-aoi-ingestion package post-installation script subprocess returned error exit status 7 passing= complaint="},
		"apt, disk": {"apt", printing(1, "dpkg: error processing archive x (--install):\n cannot copy: failed to write (No space left on device)"), "1 1 why=cannot copy: failed to write (No space left on device) passing=yes complaint="},
		"apt, slow": {"apt", "exit 124", "1 1 why=it took longer than 600s passing= complaint="},
		"dnf, end":  {"dnf", printing(0, "warning: %post(a-1.x86_64) scriptlet failed, exit status 7"), "0 1 why= passing= complaint=warning: %post(a-1.x86_64) scriptlet failed, exit status 7"},
		"dnf, pre":  {"dnf", printing(1, "error: %prein(a-1.x86_64) scriptlet failed, exit status 9\nerror: a-1.x86_64: install failed"), "1 1 why=error: %prein(a-1.x86_64) scriptlet failed, exit status 9 passing= complaint="},
		"dnf, same second": {"dnf", `[ -e "$0.2" ] || ` + "{\n: >\"$0.2\"\n" + printing(1, "error: unpacking of archive failed on file /usr/bin/a;6b0daebf: cpio: open failed - No data available") + "\n}",
			"0 2 why= passing= complaint="},
		"dnf, needs": {"dnf", printing(2, "error: Failed dependencies:\n\taz-extra is needed by a-1.x86_64"), "1 1 why=az-extra is needed by a-1.x86_64 passing= complaint="},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				tool := map[string]string{"apt": "dpkg", "dnf": "rpm"}[c.manager]
				m.tool(tool, `echo "$@" >>"$0.tries"`+"\n"+c.said)
				code := m.onMachine(Script()) + "\nbegin; reset_values; lock_wait=2 manager=" + c.manager + " package=a kept=" + m.root +
					"\ninstall_package " + m.root + `/new; echo "$? $(grep -c /new "$kept/tool/` + tool + `.tries") why=$why passing=$passing complaint=$complaint"` + "\n"
				m.write("/code", code)
				out, err := m.command(m.shell[0], append(m.shell[1:], m.root+"/code")...).CombinedOutput()
				got := strings.TrimSpace(string(out))
				if name == "apt, always locked" { // two or three tries
					got = strings.Replace(got, "1 2 why", "1 3 why", 1)
				}
				if err != nil || got != c.want {
					t.Errorf("%v\n%s\n%s", err, got, c.want)
				}
			})
		})
	}
}
