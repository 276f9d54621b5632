package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
)

// mostSkew is how far a clock may be off. Entra takes five minutes
// (RFC 7519 section 4.1.4 leaves it to the verifier), logs are compared by
// seconds.
const mostSkew = 30 * time.Second

// machine is what the host brings along.
func (c chart) machine(v Visit) {
	facts := v.Found.Facts
	if v.Found.Seen != nil {
		c.passUnless("space", v.Found.Seen.SpaceProblem(), fmt.Sprintf("%d MB free below /var/lib", v.Found.Seen.Space/1e6))
	}
	if facts == nil {
		return
	}
	if len(facts.Lacks) > 0 {
		c.fail("tools", "the host has no "+strings.Join(facts.Lacks, ", "), onTheHost(install(facts, packagesOf(facts.Lacks)...)))
	} else {
		c.ok("tools", "")
	}
	c.systemd(facts.Systemd)
	if facts.OpenSSL {
		c.ok("openssl", "")
	} else {
		c.fail("openssl", "the host has no openssl: plans can't show the live certificate, nor compare it with the new one", onTheHost(install(facts, "openssl")))
	}
	c.clock(facts)
	c.protectedLinks(facts)
}

// protectedLinks: root's work in folders that others can write relies on it that
// nobody can link a file there that is not their own (docs/host-side.md). Symbolic
// links are not followed in any case.
func (c chart) protectedLinks(facts *host.Facts) {
	const name = "protected_links"
	switch {
	case facts.Hardlinks == "":
		c.unknown(name, "the host does not tell fs.protected_hardlinks")
	case facts.Hardlinks != "1":
		c.fail(name, "fs.protected_hardlinks is "+facts.Hardlinks+": users can link files of others into folders of theirs",
			onTheHost("sysctl -w fs.protected_hardlinks=1; to keep it: echo fs.protected_hardlinks=1 >/etc/sysctl.d/60-hardlinks.conf"))
	case facts.Symlinks != "1":
		c.ok(name, "hard links; fs.protected_symlinks is not 1, which is no hindrance, but 1 is safer")
	default:
		c.ok(name, "hard and symbolic links")
	}
}

// systemd reads `systemd 252 (252-46.el9)`.
func (c chart) systemd(line string) {
	number, _, _ := strings.Cut(strings.TrimPrefix(line, "systemd "), " ")
	version, err := strconv.Atoi(number)
	switch {
	case err != nil:
		c.fail("systemd", "systemctl --version does not tell its version", "is systemd installed?")
	case version < LeastSystemd:
		c.fail("systemd", fmt.Sprintf("systemd %d is older than %d", version, LeastSystemd), "bring the host's system up to date: RHEL 8 has "+strconv.Itoa(LeastSystemd))
	default:
		c.ok("systemd", number)
	}
}

func (c chart) clock(facts *host.Facts) {
	const mend = "on the host: timedatectl set-ntp true"
	skew := facts.Ahead.Abs()
	where := "ahead of"
	if facts.Ahead < 0 {
		where = "behind"
	}
	switch {
	case !facts.Clock:
		c.fail("clock", "the host does not tell its time", mend)
	case skew > mostSkew:
		c.fail("clock", fmt.Sprintf("the clock is %s %s ours: tokens are refused", skew.Round(time.Second), where), mend)
	default:
		c.ok("clock", "")
	}
}

// packages are those of the tools that are not in coreutils, by Debian's and
// Red Hat's names.
var packages = map[string]string{
	"awk": "gawk", "find": "findutils", "flock": "util-linux", "grep": "grep", "sed": "sed", "setpriv": "util-linux", "systemctl": "systemd",
}

func packagesOf(tools []string) []string {
	var names []string
	for _, tool := range tools {
		name, other := packages[tool]
		if !other {
			name = "coreutils"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// install is the command that installs packages, as far as that can be told.
func install(facts *host.Facts, names ...string) string {
	manager := facts.Installer
	if !slices.Contains([]string{"dnf", "yum", "apt-get", "zypper"}, manager) {
		return "install " + strings.Join(names, ", ")
	}
	return manager + " install " + strings.Join(names, " ")
}

func onTheHost(command string) string { return "on the host: " + command }
