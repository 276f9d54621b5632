package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRotate(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"read": Script(), "sent": sent} {
		t.Run(name, func(t *testing.T) {
			inShells(t, append(shells(t), []string{"bash"}), func(t *testing.T, m *machine) {
				m.text = text
				before := m.owner(certPath)
				r := m.rotate(firstRun, newBytes, "thumbprint=ABCD")
				m.wants(r, Rotated)
				m.live(newBytes)
				m.settled()
				if after := m.owner(certPath); after != before {
					t.Errorf("the file is %v, it was %v", after, before)
				}
				said(t, r)
				kept(t, m)
			})
		})
	}
}

// said checks the output of a successful rotation.
func said(t *testing.T, r result) {
	t.Helper()
	steps := strings.Join(r.all("step"), " ")
	if steps != "lock check backup arm swap restart watch" || r.get("proof") != "log_clean" || r.get("verdict") != "healthy" {
		t.Errorf("steps %q: %v", steps, r)
	}
	if r.exit != 0 || r.stderr != "" || len(r.all("error")) > 0 || len(r.all("note")) > 0 {
		t.Errorf("errors or notes of a successful rotation: %v", r)
	}
	if got := strings.Join(r.all("evidence"), "\n"); !strings.Contains(got, "active/running") || strings.Count(got, "agent: started") != 1 {
		t.Errorf("the evidence is not the log since the restart: %v", r)
	}
}

// kept checks the files on the host after a successful rotation.
func kept(t *testing.T, m *machine) {
	t.Helper()
	if got := fmt.Sprint(m.receipts()); got != "map[confirmed:"+firstRun+"]" {
		t.Errorf("receipts: %s", got)
	}
	backup := m.stateDir() + "/backups/" + firstRun
	if m.read(backup+"/certificate") != oldBytes || m.owner(backup+"/certificate").mode != m.owner(certPath).mode {
		t.Error("the backup is not the old file")
	}
	for _, dir := range []string{"/var/lib/aoifleet", m.stateDir(), m.stateDir() + "/backups", backup} {
		if mode := m.owner(dir).mode; mode != os.ModeDir|0o700 {
			t.Errorf("%s has mode %v", dir, mode)
		}
	}
	if mode := m.owner(m.stateDir() + "/confirmed").mode; mode != 0o600 {
		t.Errorf("the receipt has mode %v", mode)
	}
	if m.read(m.stateDir()+"/staged-"+firstRun) != "(none)" {
		t.Error("the staged file is left")
	}
}

func TestTheFileIsChangedOnlyOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	before, err := os.Stat(m.root + certPath)
	m.must(err)
	m.wants(m.rotate(firstRun, newBytes, "swap=no", "new="+digest(oldBytes)), Rotated)
	after, err := os.Stat(m.root + certPath)
	m.must(err)
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) || m.unit("starts") != "1" {
		t.Error("a mere restart wrote the file")
	}
	m.wants(m.rotate(secondRun, newBytes), Rotated)
	if after, err = os.Stat(m.root + certPath); err != nil || !after.ModTime().After(before.ModTime()) {
		t.Errorf("a rotated file has the old one's time: %v", err)
	}
}

func TestRefusedCertificateIsUndone(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		before := m.owner(certPath)
		r := m.rotate(firstRun, badBytes)
		m.wants(r, RolledBack)
		m.wantsError(r, "unhealthy the log says: ")
		m.wantsError(r, "AADSTS700027")
		m.live(oldBytes)
		m.settled()
		if m.unit("starts") != "2" || m.owner(certPath) != before || m.receipts()["rolled-back"] != firstRun {
			t.Errorf("%s starts, %v, %v", m.unit("starts"), m.owner(certPath), m.receipts())
		}
		if left, _ := filepath.Glob(m.root + m.stateDir() + "/backups/*"); len(left) > 0 {
			t.Errorf("the backup of a run that was undone is left: %v", left)
		}
		m.wants(m.rotate(secondRun, newBytes), Rotated)
		m.live(newBytes)
	})
}

func TestFirstRotation(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.must(os.Remove(m.root + certPath))
		m.state("active=failed", "sub=failed", "loaded=")
		m.wants(m.rotate(firstRun, badBytes), Failed)
		if m.read(certPath) != "(none)" {
			t.Error("there is a file after the undo of the first rotation")
		}
		m.settled()
		m.wants(m.rotate(secondRun, newBytes), Rotated)
		m.live(newBytes)
		if got := m.owner(certPath); got.mode != 0o600 || onRoot(t) && got.uid == 0 {
			t.Errorf("the first file is %v", got)
		}
	})
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for i, path := range []string{
		"/etc/a b/the certificate.p12", `/etc/it's "so"/c.p12`, "/etc/$HOME/$(id)/`id`", `/etc/back\slash/c\n.p12`,
		"/etc/-rf/-c", "/etc/zertifikat-ü-証明書/c", "/etc/*/[a-z]?", "/etc/;&|<>#!/c", "/etc/a  b/ c ", "/c.p12",
	} {
		shell := shells(t)[i%len(shells(t))]
		t.Run(path, func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			m := newMachine(t)
			m.shell = shell
			rotatesAt(m, path)
		})
	}
	inEachShell(t, func(_ *testing.T, m *machine) { rotatesAt(m, "/etc/- it's \\n \"$(id)\" `id` * ü;/ c\t#=") })
}

func rotatesAt(m *machine, path string) {
	m.t.Helper()
	m.path = path
	m.mkdir(filepath.Dir(path), 0o755)
	m.write(path, oldBytes)
	m.hook("on-restart", "IFS= read -r loaded <\"$MACHINE/\"'"+strings.ReplaceAll(path, "'", `'\''`)+"'\n"+
		"case $loaded in BAD*) log AADSTS1 ;; esac\n")
	m.wants(m.rotate(firstRun, badBytes), RolledBack)
	m.live(oldBytes)
	m.wants(m.rotate(secondRun, newBytes), Rotated)
	m.live(newBytes)
	m.settled()
}

func TestSymlink(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.must(os.Rename(m.root+certPath, m.root+"/etc/az-aoi-ingestion/v1.p12"))
		m.must(os.Symlink("v1.p12", m.root+certPath))
		m.wants(m.rotate(firstRun, badBytes), RolledBack)
		m.wants(m.rotate(secondRun, newBytes), Rotated)
		m.live(newBytes)
		if to, err := os.Readlink(m.root + certPath); to != "v1.p12" {
			t.Errorf("the link leads to %q: %v", to, err)
		}
		if m.owner("/etc/az-aoi-ingestion/v1.p12").mode != 0o640 {
			t.Error("the mode of what the link leads to was lost")
		}
	})
}

func TestNewestThreeBackupsStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for i := range 5 {
		m.wants(m.rotate(fmt.Sprintf("20261123T09000%dZ-aaaa", i), fmt.Sprint("MII", i)), Rotated)
	}
	left, err := filepath.Glob(m.root + m.stateDir() + "/backups/*")
	m.must(err)
	if len(left) != 3 || !strings.HasSuffix(left[0], "02Z-aaaa") || m.read(strings.TrimPrefix(left[2], m.root)+"/certificate") != "MII3" {
		t.Errorf("backups: %v", left)
	}
}
