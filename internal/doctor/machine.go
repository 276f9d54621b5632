package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
)

// maxSkew is how much a clock may differ. Entra accepts five minutes (RFC 7519 section
// 4.1.4 leaves it to the verifier), and logs are compared by seconds.
const maxSkew = 30 * time.Second

// machine checks the host's tools, systemd, clock and disk.
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
		c.fail("openssl", "the host has no openssl: plans can't show the live certificate or compare it with the new one", onTheHost(install(facts, "openssl")))
	}
	c.clock(facts)
	c.protectedLinks(facts)
	c.installation(facts)
}

// protectedLinks checks that users can't link files there that are not their own. Root's
// work in folders that others can write depends on that (docs/host-side.md). Symbolic
// links are not followed in any case.
func (c chart) protectedLinks(facts *host.Facts) {
	const name = "protected_links"
	switch {
	case facts.Hardlinks == "":
		c.unknown(name, "the host does not report fs.protected_hardlinks")
	case facts.Hardlinks != "1":
		c.fail(name, "fs.protected_hardlinks is "+facts.Hardlinks+": users can link files of others into their own folders",
			onTheHost("sysctl -w fs.protected_hardlinks=1; to keep it: echo fs.protected_hardlinks=1 >/etc/sysctl.d/60-hardlinks.conf"))
	case facts.Symlinks != "1":
		c.ok(name, "hard links; fs.protected_symlinks is not 1, which is allowed, but 1 is safer")
	default:
		c.ok(name, "hard and symbolic links")
	}
}

// systemd checks the version in a line like `systemd 252 (252-46.el9)`.
func (c chart) systemd(line string) {
	number, _, _ := strings.Cut(strings.TrimPrefix(line, "systemd "), " ")
	version, err := strconv.Atoi(number)
	switch {
	case err != nil:
		c.fail("systemd", "systemctl --version reports no version", "is systemd installed?")
	case version < MinSystemd:
		c.fail("systemd", fmt.Sprintf("systemd %d is older than %d", version, MinSystemd), "update the host's system: RHEL 8 has systemd "+strconv.Itoa(MinSystemd))
	default:
		c.ok("systemd", number)
	}
}

// clock compares the host's clock with the workstation's.
func (c chart) clock(facts *host.Facts) {
	const fix = "on the host: timedatectl set-ntp true"
	skew := facts.Ahead.Abs()
	where := "ahead of"
	if facts.Ahead < 0 {
		where = "behind"
	}
	switch {
	case !facts.Clock:
		c.fail("clock", "the host does not report its time", fix)
	case skew > maxSkew:
		c.fail("clock", fmt.Sprintf("the clock is %s %s the workstation's: tokens are refused", skew.Round(time.Second), where), fix)
	default:
		c.ok("clock", "")
	}
}

// packages maps the tools that are not in coreutils to their packages on Debian and Red
// Hat.
var packages = map[string]string{
	"awk": "gawk", "find": "findutils", "flock": "util-linux", "grep": "grep", "sed": "sed", "setpriv": "util-linux", "systemctl": "systemd",
}

// packagesOf returns the packages of tools, each once.
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

// install returns the command that installs packages, as far as it is known.
func install(facts *host.Facts, names ...string) string {
	manager := facts.Installer
	if !slices.Contains([]string{"dnf", "yum", "apt-get", "zypper"}, manager) {
		return "install " + strings.Join(names, ", ")
	}
	return manager + " install " + strings.Join(names, " ")
}

func onTheHost(command string) string { return "on the host: " + command }
