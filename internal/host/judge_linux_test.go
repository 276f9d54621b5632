package host

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// TestLastLinesOfTheOldProcess: lines that the old process writes after the mark, while it
// stops, neither fail the new one nor prove anything.
func TestLastLinesOfTheOldProcess(t *testing.T) {
	t.Parallel()
	const refused = "ERROR azure: AADSTS700027: refused"
	tests := map[string]struct {
		before, after string // the new process's start
		expect        string
		ending        Ending
		proof         string
	}{
		"the old one was refused":         {refused, "INFO agent: started", "", Rotated, "log_clean"},
		"only the old one wrote":          {"INFO agent: stopping", "", "", Rotated, "process_only"},
		"expected of the new one only":    {"INFO token acquired", "", "token acquired", RolledBack, ""},
		"the new one is refused":          {"INFO agent: stopping", refused, "", RolledBack, ""},
		"both wrote what was expected":    {"INFO token acquired", "INFO token acquired", "token acquired", Rotated, "expected_line"},
		"the new one is refused at start": {"", refused, "", RolledBack, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			// The new process starts half a second after the old one's lines; its own
			// lines have a later time.
			m.hook("on-restart", `
[ "$loaded" = MIInew ] || return 0
[ -z '`+tt.before+`' ] || log '`+tt.before+`'
read -r up _ </proc/uptime
started=${up%.*}${up#*.}0000
started=$((started + 500000))
[ -z '`+tt.after+`' ] || printf '%sZ  %s\n' "$(date -u -d '1 seconds' +%Y-%m-%dT%H:%M:%S.%6N)" '`+tt.after+`' >>"$log"
`)
			in := m.change(firstRun, newBytes, "timeout=4")
			if tt.expect != "" {
				in = with(in, "expect="+tt.expect)
			}
			r := m.run("rotate", in, "confirm "+firstRun+"\n")
			m.wants(r, tt.ending)
			if got := r.get("proof"); tt.ending == Rotated && got != tt.proof {
				t.Errorf("proof %q: %v", got, r)
			}
		})
	}
}

// TestPatternThatGrepRefuses: such a pattern would disable all others.
func TestPatternThatGrepRefuses(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"[[:word:]]", "x[:space:]y", "("} {
		m := newMachine(t)
		for _, key := range []string{"deny", "expect"} {
			r := m.rotate(firstRun, badBytes, key+"="+pattern)
			m.wants(r, Refused)
			m.wantsError(r, "configuration grep on the host rejects")
		}
		r := m.run("observe", with(m.common(firstRun), "deny="+pattern), noAnswer)
		m.wantsError(r, "configuration grep on the host rejects")
	}
}

func TestMissingTool(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"dd", "flock", "awk", "sha256sum"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			dir := t.TempDir()
			entries, err := os.ReadDir(tools + "/few")
			m.must(err)
			for _, e := range entries {
				if e.Name() != tool {
					m.must(os.Symlink(tools+"/few/"+e.Name(), dir+"/"+e.Name()))
				}
			}
			in := m.input("observe", m.common(firstRun))
			cmd := exec.Command("dash", "-s")
			cmd.Stdin = strings.NewReader(strings.Replace(m.onMachine(in), "PATH="+tools+"/bin:"+systemDir, "PATH="+dir, 1))
			out, _ := cmd.Output()
			if !strings.Contains(string(out), "error=configuration the host has no "+tool+"\nresult=refused\n") {
				t.Errorf("%s", out)
			}
		})
	}
}

// TestChainThroughAForeignFolder: a chain of symlinks must not lead through a folder that
// others can write.
func TestChainThroughAForeignFolder(t *testing.T) {
	t.Parallel()
	for _, hop := range []string{"/home/eve/hop", "/home/eve/folder/../hop"} {
		m := newMachine(t)
		m.write("/etc/important", oldBytes)
		m.mkdir("/home/eve/folder", 0o755)
		m.mkdir("/home/eve", 0o777)
		m.must(os.Symlink(m.root+"/etc/important", m.root+"/home/eve/hop"))
		m.removeCertificate()
		m.must(os.Symlink(m.root+hop, m.root+certPath))
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Refused)
		m.wantsError(r, "can write the folder /home/eve")
		m.mkdir("/home/eve", 0o755)
		m.wants(m.rotate(secondRun, newBytes), Rotated)
		if m.read("/etc/important") != newBytes {
			t.Error("the file at the end of the chain is not the new one")
		}
	}
}

func TestLinksInACircle(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	in := with(m.change(firstRun, newBytes), "old=none", "path=/etc/one/c", "real=/etc/one/c")
	m.must(os.Symlink("two", m.root+"/etc/one"))
	m.must(os.Symlink("one", m.root+"/etc/two"))
	m.wants(m.run("rotate", in, noAnswer), Refused)
}

func TestLongConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write("/etc/az-aoi-ingestion/config.yaml", strings.Repeat("# padding\n", 4001)+"pipelines: []\n")
	f := parseFound([]byte(strings.Join(m.run("observe", with(m.common(firstRun), "config=/etc/az-aoi-ingestion/config.yaml"), noAnswer).lines, "\n")))
	if _, err := f.observation(inventory.Agent{Config: "c"}); err == nil || !strings.Contains(err.Error(), "more than 4000 lines") {
		t.Errorf("%v", err)
	}
}

// TestReceiptOfALaterVersion: a receipt of a later version may have unknown keys; recover
// undoes it all the same.
func TestReceiptOfALaterVersion(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	interrupted(m)
	receipt := m.stateDir() + "/pending"
	m.write(receipt, strings.Replace(m.read(receipt), "\nend\n", "\naudit=x\nend\n", 1))
	m.wants(m.recover(), RolledBack)
	m.live(oldBytes)
	m.settled()
}
