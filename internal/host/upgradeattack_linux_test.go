package host

import (
	"os"
	"strings"
	"testing"
)

// killedUpgrade leaves an upgrade that was killed before the agent was judged.
func killedUpgrade(m *machine) {
	m.packaged()
	m.hook("on-restart", "[ $starts -lt 2 ] || { keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit; }\n")
	m.upgrade(firstRun)
	m.started("")
}

// TestHoldEndsIfFilesCannotBeRestored: a full disk, after a power failure. The agent starts with what
// is there until the timer has undone the rest.
func TestHoldEndsIfFilesCannotBeRestored(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		killedUpgrade(m)
		stored := m.stateRun(firstRun) + "/host.sh"
		script := m.read(stored)
		m.tool("cp", "echo 'cp: error writing: No space left on device' >&2; exit 1")
		m.write(stored, strings.Replace(script, "PATH=", "PATH="+m.root+"/tool:", 1))
		m.powerOff()
		guard := m.guardScript(m.guards()[0])
		m.unattended(guard)
		m.afterGuard(guard, "exit-code")
		if r := m.tick(); r.exit != 1 || m.unit("active") != "active" {
			t.Errorf("the agent is %s: %v", m.unit("active"), r)
		}
		m.write(stored, script)
		m.wants(m.tick(), RolledBack)
		m.version(oldVersion)
	})
}

// TestHoldWithoutTimer: after a power failure no timer can be started. Then nothing undoes the
// package until recover, and the agent must not wait for that.
func TestHoldWithoutTimer(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		killedUpgrade(m)
		m.write("/unit/refuse-timer", "")
		m.reboot()
		if m.unit("active") != "active" {
			t.Error("the agent is held back")
		}
		m.wants(m.recover(), RolledBack)
		m.version(oldVersion)
	})
}

// TestScriptThatMeetsTheLock: a script of the package that calls dpkg fails because dpkg has its own
// lock. The new package is half installed, so the old one must be installed again.
func TestScriptThatMeetsTheLock(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.text = strings.Replace(sent, "lock_wait=120", "lock_wait=1", 1)
		r := m.upgradeTo("echo 'dpkg: error: dpkg frontend lock was locked by another process with pid 1'; false")
		m.wants(r, RolledBack)
		m.version(oldVersion)
	})
}

// TestLockOfAnotherUpgrade: another process has the lock because it installs a third version.
func TestLockOfAnotherUpgrade(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.text = strings.Replace(sent, "lock_wait=120", "lock_wait=1", 1)
		m.write("/pkg/locked", `case $* in *package.old) rm "$pkg/locked" ;; *) echo unpacked 3.0-1 >"$pkg/status" ;; esac`)
		r := m.upgrade(firstRun)
		m.wants(r, RolledBack)
		m.wantsError(r, "command cannot install az-aoi-ingestion 2.0.0-1: another process uses the package manager")
		m.version(oldVersion)
	})
}

// TestPackageManagerThatSaysNothing: on a full disk its words can't be written either. The next tick
// tries again.
func TestPackageManagerThatSaysNothing(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		killedUpgrade(m)
		m.due()
		log := m.stateRun(firstRun) + "/package.log"
		m.mkdir(log, 0o700)
		if r := m.tick(); r.exit != 1 || r.get("result") != "" || m.unit("active") != "active" {
			t.Errorf("the agent is %s: %v", m.unit("active"), r)
		}
		m.must(os.Remove(m.root + log))
		m.wants(m.tick(), RolledBack)
		m.version(oldVersion)
	})
}

// TestSignatureInAName: rpm before 4.14 accepts an unsigned file, and the repository has chosen its name.
func TestSignatureInAName(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.tool("rpmkeys", "for file; do :; done\necho \"$file: $(cat \"$file\")\"")
		for said, want := range map[string]string{"sha1 md5 OK": "1", "rsa sha1 (md5) pgp md5 OK": "0", "digests signatures OK": "0"} {
			name := m.root + "/a pgp : digests signatures OK.rpm"
			m.must(os.WriteFile(name, []byte(said), 0o600))
			m.write("/code", m.onMachine(Script())+"\narchive='"+name+"'\nis_signed\necho $?\n")
			if out, _ := m.command(m.shell[0], append(m.shell[1:], m.root+"/code")...).CombinedOutput(); string(out) != want+"\n" {
				t.Errorf("%s: %s", said, out)
			}
		}
	})
}

// TestUndoOfAnUpgradeAtTheStartLimit: the agent of the new version has ended so often that systemd
// refuses to start it. The script of the old package, which starts it, succeeds all the same.
func TestUndoOfAnUpgradeAtTheStartLimit(t *testing.T) {
	t.Parallel()
	inOneShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.started(failsWithNew + "\n[ \"$(cat \"$MACHINE/pkg/program\")\" != " + newVersion + " ] || limit=yes")
		m.wants(m.upgrade(firstRun), RolledBack)
		m.version(oldVersion)
	})
}
