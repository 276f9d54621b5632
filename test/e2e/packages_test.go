//go:build e2e && linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestPackages builds the packages of aoifleet and aoifleet-engine, and installs and removes
// the .deb and the .rpm of both on a real host. Nothing is left.
func TestPackages(t *testing.T) {
	dist := filepath.Join(t.TempDir(), "dist")
	build := exec.Command("sh", "../../packaging/build.sh", dist, "linux/"+runtime.GOARCH)
	build.Env = append(os.Environ(), "VERSION=v9.8.7")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h := boot(t, fleet.Options{Hosts: []fleet.Spec{{Name: "workstation"}}}).Host("workstation")
	for format, p := range map[string]struct{ check, install, verify, remove string }{
		"deb": {"dpkg --info", "dpkg -i", "dpkg -V", "dpkg -r aoifleet aoifleet-engine && dpkg -P"},
		"rpm": {"rpm -K --nosignature", "rpm -i --force-debian", "rpm -V", "rpm -e --force-debian"},
	} {
		t.Run(format, func(t *testing.T) {
			run := func(command string) string {
				t.Helper()
				out, err := h.Shell(t.Context(), command)
				if err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
				return strings.TrimSpace(out)
			}
			matches, err := filepath.Glob(filepath.Join(dist, "*."+format))
			if err != nil || len(matches) != 2 {
				t.Fatal(matches, err)
			}
			for _, match := range matches {
				content, err := os.ReadFile(match)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(h.Root, "/var/tmp", filepath.Base(match)), content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			const both = " aoifleet aoifleet-engine"
			const files = "find /bin/ /etc /opt /root /usr /var -xdev -path /var/lib/dpkg -prune -o -path /var/lib/rpm -prune -o -path /var/log -prune -o" +
				" -path /var/cache/man -prune -o -path /root/.rpmdb -prune -o -print | sort"
			run("mkdir -p /usr/share/licenses /usr/share/zsh/site-functions") // folders of the system where rpm is at home
			before := run(files)
			run("ls /var/tmp/aoifleet*." + format + " | xargs -n 1 " + p.check)
			run(p.install + " /var/tmp/aoifleet*." + format)
			if out := run(p.verify + both); out != "" {
				t.Errorf("changed after the installation: %s", out)
			}
			asUser := func(command string) string { return run("runuser -u " + h.User + " -- " + command) }
			if out, want := asUser("aoifleet version"), "aoifleet v9.8.7 linux/"+runtime.GOARCH; out != want {
				t.Errorf("version: %q, want %q", out, want)
			}
			if out, want := asUser("aoifleet-engine --version"), "aoifleet-engine v9.8.7"; out != want {
				t.Errorf("version: %q, want %q", out, want)
			}
			for _, page := range []string{"aoifleet", "aoifleet-certificate-new"} {
				if out := asUser("man -P cat " + page); !strings.Contains(strings.Join(strings.Fields(out), " "), "NAME "+page+" - ") {
					t.Errorf("man %s: %.500s", page, out)
				}
			}
			if out := asUser("fish -c 'complete -C \"aoifleet rot\"'"); !strings.HasPrefix(out, "rotate") {
				t.Errorf("fish completes %q", out)
			}
			if out := asUser("bash -c '. /usr/share/bash-completion/completions/aoifleet && complete -p aoifleet'"); !strings.Contains(out, "__start_aoifleet") {
				t.Errorf("bash: %q", out)
			}
			if out := run("ls /usr/share/zsh/*/_aoifleet"); out == "" {
				t.Error("no completion for zsh")
			}
			run(p.remove + both)
			if after := run(files); after != before {
				t.Errorf("left behind or removed:\n%s", difference(before, after))
			}
		})
	}
}

// difference returns the lines that only one of two texts has.
func difference(a, b string) string {
	count := map[string]int{}
	for line := range strings.SplitSeq(a, "\n") {
		count[line]++
	}
	for line := range strings.SplitSeq(b, "\n") {
		count[line]--
	}
	var lines []string
	for line, n := range count {
		if n != 0 {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
