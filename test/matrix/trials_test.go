//go:build matrix && linux

package matrix

import (
	"slices"

	"github.com/aoifleet/aoifleet/internal/lab"
)

// trial is one case on its own machine.
type trial struct {
	step, fault string
	lab         string // the lab's fault
	killAt      string // the program is killed when its journal has this step
	health      string // replaces the inventory's health
	both        bool   // the run also changes the configuration
	upgrade     bool   // the run installs another version of the agent's package, not a certificate
	long        bool   // only with -every-case
}

// shortDeadlines are settings with short deadlines. The timeout must be long enough for
// a restart on a busy machine.
const shortDeadlines = "{window: 0s, timeout: 4s, confirm_timeout: 3s}"

// longDeadlines are settings for runs that must succeed.
const longDeadlines = "{window: 0s, timeout: 30s}"

// The versions of the agent's package.
var oldVersion, newVersion = lab.PackageVersions[0], lab.PackageVersions[1]

// point is a moment of a run.
type point struct{ step, text string }

// points are the moments of a fault of the lab in a rotation: when the text has
// passed between the program and the host.
var points = []point{
	{"lock", "out:step=lock"}, {"check", "out:step=check"}, {"backup", "out:step=backup"}, {"arm", "out:step=arm"},
	{"swap", "out:step=swap"}, {"restart", "out:step=restart"}, {"watch", "out:step=watch"},
	{"verdict", "out:verdict=healthy"}, {"confirm", "in:confirm 20"}, {"end", "out:result=rotated"},
}

var faults = []struct{ fault, word string }{
	{"link silent", "silent-on"}, // first, because it takes longest
	{"connection cut", "cut-on"},
	{"host.sh killed", "kill-on"},
	{"host rebooted", "reboot-on"},
	{"SSH daemon restarted", "sshd-restart-on"},
	{"sudo revoked", "sudo-revoked-on"},
}

func trials() []trial {
	var all []trial
	for _, s := range faults {
		for _, p := range points {
			all = append(all, trial{step: p.step, fault: s.fault, lab: s.word + " " + p.text})
		}
	}
	for _, step := range []string{"stage", "rotate", "lock", "check", "backup", "arm", "swap", "restart", "watch", "confirm"} {
		all = append(all, trial{step: step, fault: "program killed", killAt: step})
	}
	return append(append(append(all, bothTrials()...), upgradeTrials()...),
		trial{step: "from the start", fault: "disk full", lab: "disk-full"},
		trial{step: "backup", fault: "disk full", lab: "disk-full 4"},
		trial{step: "from the start", fault: "file immutable", lab: "immutable"},
		trial{step: "from the start", fault: "clock an hour ahead", lab: "clock-jump 1h"},
		trial{step: "from the start", fault: "clock an hour behind", lab: "clock-jump -1h"},
		trial{step: "confirm", fault: "timer fires", health: `{window: 0s, timeout: 10s, confirm_timeout: 2s, command: "sleep 6"}`},
		trial{step: "arm", fault: "no systemd-run", lab: "missing-tool systemd-run"},
		trial{step: "arm", fault: "systemd-run fails", lab: "timer-fails no such bus"},
		trial{step: "arm", fault: "timer is not active", lab: "timer-dead"},
		trial{step: "arm", fault: "no target wants the unit", lab: "not-wanted"},
		trial{step: "restart", fault: "systemctl restart fails", lab: "restart-fails Job failed."},
	)
}

// bothTrials are faults while two files change, from the first rename to the end.
func bothTrials() []trial {
	var all []trial
	for _, s := range faults[1:4] {
		for _, p := range points[4:] {
			all = append(all, trial{step: p.step + ", two files", fault: s.fault, lab: s.word + " " + p.text, both: true})
		}
	}
	for _, step := range []string{"swap", "restart", "watch", "confirm"} {
		all = append(all, trial{step: step + ", two files", fault: "program killed", killAt: step, both: true})
	}
	return all
}

// upgradeTrials are faults while a package is installed, alone with apt and together with a
// configuration with dnf, and faults of the package itself.
func upgradeTrials() []trial {
	var all []trial
	for _, both := range []bool{false, true} {
		rare := map[string]bool{}
		for _, fault := range []string{"link silent", "SSH daemon restarted", "sudo revoked"} {
			rare[fault] = both // the package alone and the certificate have them too
		}
		add := func(step, fault, lab, killAt string) {
			if step == "swap" && !both {
				return // no file changes
			}
			step += ", package"
			if both {
				step += " and configuration"
			}
			all = append(all, trial{step: step, fault: fault, lab: lab, killAt: killAt, both: both, upgrade: true, long: rare[fault]})
		}
		for _, s := range faults {
			for _, p := range slices.Insert(slices.Clone(points), 5, point{"install", "out:step=install"}) {
				add(p.step, s.fault, s.word+" "+p.text, "")
			}
		}
		for _, step := range []string{"fetch", "upgrade", "lock", "check", "backup", "arm", "swap", "install", "restart", "watch", "confirm"} {
			add(step, "program killed", "", step)
		}
		for _, f := range packageFaults {
			add("install", f.fault, f.word, "")
		}
	}
	return all
}

// packageFaults are faults of the new version, or of the package manager.
var packageFaults = []struct{ fault, word string }{
	{"host.sh killed while files are replaced", "package-slow 1s " + newVersion + ";kill-on out:step=install"},
	{"connection cut while files are replaced", "package-slow 1s " + newVersion + ";cut-on out:step=install"},
	{"host rebooted while files are replaced", "package-reboots unpack " + newVersion},
	{"host rebooted in the package's script", "package-reboots script " + newVersion},
	{"the installation fails", "package-install-fails " + newVersion},
	{"the package's script fails", "package-scriptlet-fails " + newVersion},
	{"the package's script does not restart the agent", "package-no-restart"},
	{"the package's script changes the configuration", "package-changes-configuration " + newVersion},
	{"the package database is locked", "package-locked 4s"},
	{"the new version exits at its start", "exit-at-start version:" + newVersion},
	{"the new version logs an error", "deny-line AADSTS700027 version:" + newVersion},
	{"the new version needs another package", "package-needs libfoo " + newVersion},
	{"the new version is not signed", "package-unsigned " + newVersion},
	{"the old version is not in the repository", "package-missing " + oldVersion},
}
