package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// TestCertificateThatIsRemoved after the swap, or after the undo, is noticed.
func TestCertificateThatIsRemoved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		restart string
		ending  Ending
		message string
	}{
		"after the swap": {`[ $starts != 1 ] || rm "$live"`, RolledBack, "drift " + certPath + " was changed"},
		"after the undo": {`if [ $starts = 1 ]; then log ERROR AADSTS1; else rm "$live"; fi`, Failed, "the log says: "},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.hook("on-restart", "log INFO agent: started\n"+c.restart+"\n")
				r := m.rotate(firstRun, newBytes)
				m.wants(r, c.ending)
				m.wantsError(r, c.message)
				m.settled()
			})
		})
	}
}

// TestNamesLikeThoseOfLn: files with names like those of ln(1) stay; its leftovers are
// removed.
func TestNamesLikeThoseOfLn(t *testing.T) {
	t.Parallel()
	folder := filepath.Dir(certPath)
	for name, prepare := range map[string]func(m *machine){
		"nothing left": func(*machine) {},
		"ended at the link": func(m *machine) {
			m.write(folder+"/.aoifleet-x", newBytes)
			m.hardLink(folder+"/.aoifleet-x", folder+"/CuAb12xY")
		},
		"ended at the name": func(m *machine) { m.hardLink(m.path, folder+"/.aoifleet-x") },
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.path = folder + "/Cust.p12"
				m.must(os.Rename(m.root+certPath, m.root+m.path))
				m.state("live=" + m.root + m.path)
				m.write(folder+"/Customer", "of another program")
				prepare(m)
				m.hook("on-restart", "[ $starts != 1 ] || log ERROR AADSTS1\n")
				m.wants(m.rotate(firstRun, oldBytes, "swap=no"), RolledBack)
				m.live(oldBytes)
				m.settled()
				if m.read(folder+"/Customer") == "(none)" || m.read(folder+"/CuAb12xY") != "(none)" {
					t.Errorf("%v", m.tree())
				}
			})
		})
	}
}

func (m *machine) hardLink(from, to string) {
	m.t.Helper()
	m.must(os.Link(m.root+from, m.root+to))
}

// TestLinkedConfiguration: a link of root's own does not block a rotation in the agent's
// folder.
func TestLinkedConfiguration(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"config.yaml.1", "/etc/real/config.yaml"} {
		t.Run(filepath.Dir(target), func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.agentsFolder()
				m.mkdir("/etc/conf", 0o755)
				m.mkdir("/etc/real", 0o755)
				to, file := target, "/etc/conf/"+target
				if filepath.IsAbs(target) {
					to, file = m.root+target, target
				}
				m.write(file, config(certPath))
				m.must(os.Symlink(to, m.root+"/etc/conf/config.yaml"))
				o, _, err := m.look(inventory.Agent{}, "config=/etc/conf/config.yaml")
				m.must(err)
				m.wants(m.rotate(firstRun, newBytes, "config=/etc/conf/config.yaml", "configured="+o.Configured, "folder="+o.File.Folder), Rotated)
				m.live(newBytes)
				m.settled()
			})
		})
	}
}

// TestReceiptThatWasCutShort: recover cleans the same, with or without the unit in the
// receipt.
func TestReceiptThatWasCutShort(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"empty": "", "before the unit": "run=x-1\nowner=o\n", "in the unit": "run=x-1\nowner=o\nunit=az\n"} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.stage("x-1", newBytes)
				m.aged(m.stateDir()+"/staged-x-1", 48*time.Hour)
				m.mkdir(m.stateDir()+"/backups", 0o700)
				m.write(m.stateDir()+"/pending", text)
				r := m.recover()
				m.wants(r, Clean)
				if left := strings.Join(m.tree(), "\n"); strings.Contains(left, "staged-") || strings.Contains(left, "/pending") || r.stderr != "" {
					t.Errorf("%v\n%s", r, left)
				}
			})
		})
	}
}

// TestEmptyConfiguration compares equal to itself.
func TestEmptyConfiguration(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		const path = "/etc/az-aoi-ingestion/config.yaml"
		m.write(path, "")
		o, _, err := m.look(inventory.Agent{CertificatePath: certPath}, "path="+certPath)
		m.must(err)
		m.wants(m.rotate(firstRun, newBytes, "config="+path, "configured="+o.Configured), Rotated)
		m.write(path, config(certPath))
		r := m.rotate(secondRun, thirdOne, "config="+path, "configured="+o.Configured)
		m.wants(r, Refused)
		m.wantsError(r, "drift "+path)
	})
}
